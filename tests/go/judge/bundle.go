package main

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Reads a trust domain's bundle as go-spiffe does, and as istiod does; an empty refusal is a yes.
func bundle(name, file string) (map[string]any, error) {
	domain, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	said := map[string]any{"go_spiffe": "", "istio": ""}
	if read, err := spiffebundle.Parse(domain, text); err != nil {
		said["go_spiffe"] = err.Error()
	} else {
		maps.Copy(said, counted(read))
	}
	if roots, err := istio(text); err != nil {
		said["istio"] = err.Error()
	} else {
		said["istio_roots"] = roots
	}
	return said, nil
}

// Istio's rules (pkg/spiffe): every entry is a key that its JOSE library takes, whatever its use; each of the X.509 ones
// has one certificate, and there is at least one.
func istio(text []byte) (int, error) {
	var document struct {
		Keys     []jose.JSONWebKey `json:"keys"`
		Sequence uint64            `json:"spiffe_sequence"`
		Hint     int               `json:"spiffe_refresh_hint"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return 0, err
	}
	var roots []*x509.Certificate
	for at, key := range document.Keys {
		switch {
		case key.Use != "x509-svid":
		case len(key.Certificates) != 1:
			return 0, fmt.Errorf("entry %d has %d certificates", at, len(key.Certificates))
		default:
			roots = append(roots, key.Certificates[0])
		}
	}
	if len(roots) == 0 {
		return 0, errors.New("no X.509 authority")
	}
	for _, root := range roots {
		if !root.IsCA {
			return 0, fmt.Errorf("%s is no CA", root.Subject)
		}
	}
	return len(roots), nil
}
