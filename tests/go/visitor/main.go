// A process of a job that speaks with a service by go-spiffe: for each address a line in, one connection with the SVID
// that the socket ($SPIFFE_ENDPOINT_SOCKET) has served last; a line out says "ok SERIAL ROOTS", with how many roots it had
// of that trust domain, or "no WHY".
//
//	visitor TRUST_DOMAIN_OF_THE_SERVICE
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func main() {
	domain := spiffeid.RequireTrustDomainFromString(os.Args[1])
	source, err := workloadapi.NewX509Source(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for addresses := bufio.NewScanner(os.Stdin); addresses.Scan(); {
		serial, roots, err := visit(source, domain, addresses.Text())
		if err != nil {
			fmt.Println("no", err)
		} else {
			fmt.Println("ok", serial, roots)
		}
	}
}

func visit(source *workloadapi.X509Source, domain spiffeid.TrustDomain, address string) (string, int, error) {
	svid, err := source.GetX509SVID()
	if err != nil {
		return "", 0, err
	}
	bundle, err := source.GetX509BundleForTrustDomain(domain)
	if err != nil {
		return "", 0, err
	}
	roots := len(bundle.X509Authorities())
	trust := tlsconfig.AuthorizeMemberOf(domain)
	connection, err := tls.Dial("tcp", address, tlsconfig.MTLSClientConfig(svid, source, trust))
	if err != nil {
		return "", 0, err
	}
	defer connection.Close()
	request, err := http.NewRequest("GET", "https://"+address, nil)
	if err != nil {
		return "", 0, err
	}
	if err := request.Write(connection); err != nil {
		return "", 0, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(connection), request)
	if err != nil {
		return "", 0, err
	}
	if answer.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("%s", answer.Status)
	}
	return svid.Certificates[0].SerialNumber.Text(16), roots, nil
}
