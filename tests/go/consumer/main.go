// A server that says "ok" to whoever it lets in: by Go's own TLS or by go-spiffe's on files as an agent leaves them, or by
// go-spiffe's on what the socket ($SPIFFE_ENDPOINT_SOCKET) serves.
//
//	consumer plain|spiffe|source sessions|no-sessions ADDRESS FOLDER
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func main() {
	kind, sessions, address, folder := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	config, err := map[string]func(string) (*tls.Config, error){"plain": plain, "source": source, "spiffe": spiffe}[kind](folder)
	if err != nil {
		log.Fatal(err)
	}
	config.SessionTicketsDisabled = sessions == "no-sessions"
	ok := func(answer http.ResponseWriter, _ *http.Request) { io.WriteString(answer, "ok") }
	server := http.Server{Addr: address, Handler: http.HandlerFunc(ok), TLSConfig: config}
	log.Fatal(server.ListenAndServeTLS("", ""))
}

func plain(folder string) (*tls.Config, error) {
	svid, err := tls.LoadX509KeyPair(filepath.Join(folder, "svid.pem"), filepath.Join(folder, "svid_key.pem"))
	if err != nil {
		return nil, err
	}
	bundle, err := os.ReadFile(filepath.Join(folder, "svid_bundle.pem"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	return &tls.Config{
		Certificates: []tls.Certificate{svid},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
	}, nil
}

func source(string) (*tls.Config, error) {
	source, err := workloadapi.NewX509Source(context.Background())
	if err != nil {
		return nil, err
	}
	domain := spiffeid.RequireTrustDomainFromString("ci.example.org")
	return tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeMemberOf(domain)), nil
}

func spiffe(folder string) (*tls.Config, error) {
	svid, err := x509svid.Load(filepath.Join(folder, "svid.pem"), filepath.Join(folder, "svid_key.pem"))
	if err != nil {
		return nil, err
	}
	domain := spiffeid.RequireTrustDomainFromString("ci.example.org")
	bundle, err := x509bundle.Load(domain, filepath.Join(folder, "svid_bundle.pem"))
	if err != nil {
		return nil, err
	}
	return tlsconfig.MTLSServerConfig(svid, bundle, tlsconfig.AuthorizeMemberOf(domain)), nil
}
