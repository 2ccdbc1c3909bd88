// Verifies a JWT as a reader of OpenID Connect does (go-oidc, unmodified), with nothing but the issuer's name.
//
//	verifier  ISSUER  AUDIENCE  CA.pem  TOKEN
//
// Says the claims as a line of JSON, or why not on standard error.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/coreos/go-oidc/v3/oidc"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(issuer, audience, ca, token string) error {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	ctx := oidc.ClientContext(context.Background(), client)
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return err
	}
	verified, err := provider.Verifier(&oidc.Config{ClientID: audience}).Verify(ctx, token)
	if err != nil {
		return err
	}
	var claims map[string]any
	if err := verified.Claims(&claims); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(claims)
}
