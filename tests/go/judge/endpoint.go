package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Reads a bundle endpoint as go-spiffe's client does, by a certificate of these CAs; an empty refusal is a yes.
func fetchWeb(name, url, cas string) (map[string]any, error) {
	text, err := os.ReadFile(cas)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("no certificate in %s", cas)
	}
	return fetch(name, url, federation.WithWebPKIRoots(pool))
}

// The same by an SVID of this ID, below the bundle in a file.
func fetchSpiffe(name, url, id, file string) (map[string]any, error) {
	endpoint, err := spiffeid.FromString(id)
	if err != nil {
		return nil, err
	}
	first, err := spiffebundle.Load(endpoint.TrustDomain(), file)
	if err != nil {
		return nil, err
	}
	return fetch(name, url, federation.WithSPIFFEAuth(first, endpoint))
}

func fetch(name, url string, by federation.FetchOption) (map[string]any, error) {
	domain, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return nil, err
	}
	within, over := context.WithTimeout(context.Background(), 30*time.Second)
	defer over()
	read, err := federation.FetchBundle(within, domain, url, by)
	if err != nil {
		return map[string]any{"refused": err.Error()}, nil
	}
	said := counted(read)
	said["refused"] = ""
	return said, nil
}

func counted(read *spiffebundle.Bundle) map[string]any {
	sequence, _ := read.SequenceNumber()
	hint, _ := read.RefreshHint()
	return map[string]any{
		"x509": len(read.X509Authorities()), "jwt": len(read.JWTAuthorities()), "sequence": sequence, "hint": int(hint.Seconds()),
	}
}

// A bundle in a file, read anew for each question.
type inFile string

func (f inFile) GetBundleForTrustDomain(domain spiffeid.TrustDomain) (*spiffebundle.Bundle, error) {
	return spiffebundle.Load(domain, string(f))
}

// Serves a bundle by go-spiffe's handler, behind this certificate, for as long as somebody asks this judge.
func serve(name, file, chain, key string) (map[string]any, error) {
	domain, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return nil, err
	}
	handler, err := federation.NewHandler(domain, inFile(file))
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(chain, key)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
	go server.ServeTLS(listener, "", "")
	return map[string]any{"port": listener.Addr().(*net.TCPAddr).Port}, nil
}
