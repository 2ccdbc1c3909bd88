// Judges certificates with crypto/x509 alone, checkpoints with Go's own notes and trees, bundles as go-spiffe and istiod
// read them, and bundle endpoints as go-spiffe asks them, for tests/judges and tests/stories; and serves a bundle as go-spiffe does.
//
// Reads requests from standard input, one a line with tabs between its words, and answers each with a line of JSON:
//
//	facts   LEAF.pem
//	verify  CHAIN.pem  ROOTS.pem  UNIX_SECONDS
//	checkpoint  KEY.vkey  CHECKPOINT  JOURNAL_FOLDER
//	bundle  TRUST_DOMAIN  DOCUMENT.json
//	fetch   TRUST_DOMAIN  URL  CAS.pem
//	fetch   TRUST_DOMAIN  URL  ENDPOINT_ID  ITS_BUNDLE.json
//	serve   TRUST_DOMAIN  DOCUMENT.json  CHAIN.pem  KEY.pem
//	crl     CHAIN.pem  ROOTS.pem  UNIX_SECONDS  CRLS.pem
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	answers.SetEscapeHTML(false)
	for lines.Scan() {
		if err := answers.Encode(answer(strings.Split(lines.Text(), "\t"))); err != nil {
			panic(err)
		}
	}
}

func answer(words []string) map[string]any {
	var said map[string]any
	var err error
	switch {
	case words[0] == "facts" && len(words) == 2:
		said, err = facts(words[1])
	case words[0] == "verify" && len(words) == 4:
		said, err = verify(words[1], words[2], words[3])
	case words[0] == "checkpoint" && len(words) == 4:
		said, err = checkpoint(words[1], words[2], words[3])
	case words[0] == "crl" && len(words) == 5:
		said, err = revoked(words[1], words[2], words[3], words[4])
	case words[0] == "fetch" && len(words) == 4:
		said, err = fetchWeb(words[1], words[2], words[3])
	case words[0] == "fetch" && len(words) == 5:
		said, err = fetchSpiffe(words[1], words[2], words[3], words[4])
	case words[0] == "serve" && len(words) == 5:
		said, err = serve(words[1], words[2], words[3], words[4])
	case words[0] == "bundle" && len(words) == 3:
		said, err = bundle(words[1], words[2])
	default:
		err = fmt.Errorf("no such request: %q", words)
	}
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	return said
}

func read(file string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, certificate)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no certificate in %s", file)
	}
	return all, nil
}

// Verifies a chain, leaf first, once for each side of a connection; an empty answer is a yes.
func verify(chain, roots, at string) (map[string]any, error) {
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return nil, err
	}
	all, err := read(chain)
	if err != nil {
		return map[string]any{"server": err.Error(), "client": err.Error()}, nil
	}
	anchors, err := read(roots)
	if err != nil {
		return nil, err
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: time.Unix(seconds, 0)}
	for _, anchor := range anchors {
		options.Roots.AddCert(anchor)
	}
	for _, intermediate := range all[1:] {
		options.Intermediates.AddCert(intermediate)
	}
	said := map[string]any{}
	for side, usage := range map[string]x509.ExtKeyUsage{"server": x509.ExtKeyUsageServerAuth, "client": x509.ExtKeyUsageClientAuth} {
		options.KeyUsages = []x509.ExtKeyUsage{usage}
		said[side] = ""
		if _, err := all[0].Verify(options); err != nil {
			said[side] = err.Error()
		}
	}
	return said, nil
}

// Holds each certificate of a chain, leaf first, against the list of its issuer; an empty answer is a yes.
func revoked(chain, roots, at, lists string) (map[string]any, error) {
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return nil, err
	}
	now := time.Unix(seconds, 0)
	all, err := read(chain)
	if err != nil {
		return nil, err
	}
	anchors, err := read(roots)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(lists)
	if err != nil {
		return nil, err
	}
	var known []*x509.RevocationList
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		known = append(known, list)
	}
	issuers := append(slices.Clone(all[1:]), anchors...)
	for _, certificate := range all {
		if said := held(certificate, issuers, known, now); said != "" {
			return map[string]any{"said": said}, nil
		}
	}
	return map[string]any{"said": ""}, nil
}

func held(certificate *x509.Certificate, issuers []*x509.Certificate, known []*x509.RevocationList, now time.Time) string {
	for _, issuer := range issuers {
		if certificate.CheckSignatureFrom(issuer) != nil {
			continue
		}
		for _, list := range known {
			if list.CheckSignatureFrom(issuer) != nil || !slices.Equal(list.AuthorityKeyId, issuer.SubjectKeyId) {
				continue
			}
			if now.Before(list.ThisUpdate) || now.After(list.NextUpdate) || list.Number.Sign() <= 0 {
				return "stale"
			}
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(certificate.SerialNumber) == 0 {
					return "revoked"
				}
			}
			return ""
		}
	}
	return "no list"
}

func facts(file string) (map[string]any, error) {
	all, err := read(file)
	if err != nil {
		return nil, err
	}
	leaf := all[0]
	said := map[string]any{
		"spki":       hex.EncodeToString(leaf.RawSubjectPublicKeyInfo),
		"key":        key(leaf),
		"not_before": leaf.NotBefore.Unix(),
		"not_after":  leaf.NotAfter.Unix(),
		"ca":         leaf.IsCA,
		"key_usage":  keyUsage(leaf.KeyUsage),
		"purposes":   purposes(leaf),
		"critical":   critical(leaf.Extensions),
		"subject":    subject(leaf.Subject),
	}
	build := map[string]string{}
	for _, extension := range leaf.Extensions {
		oid := extension.Id.String()
		if number, is := strings.CutPrefix(oid, "1.3.6.1.4.1.57264.1."); is {
			var text string
			rest, err := asn1.UnmarshalWithParams(extension.Value, &text, "utf8")
			if err != nil || len(rest) != 0 {
				return nil, fmt.Errorf("%s is no UTF8String: %x", oid, extension.Value)
			}
			build[number] = text
		} else if oid == "2.5.29.17" {
			if said["names"], err = names(extension.Value); err != nil {
				return nil, err
			}
		}
	}
	said["build"] = build
	return said, nil
}

func key(leaf *x509.Certificate) string {
	switch public := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return "EC " + public.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", public.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	default:
		return fmt.Sprintf("%T", public)
	}
}

func keyUsage(usage x509.KeyUsage) []string {
	words := []string{}
	for bit, word := range []string{"digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment",
		"keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"} {
		if usage&(1<<bit) != 0 {
			words = append(words, word)
		}
	}
	return words
}

func purposes(leaf *x509.Certificate) []string {
	words := []string{}
	for _, usage := range leaf.ExtKeyUsage {
		switch usage {
		case x509.ExtKeyUsageServerAuth:
			words = append(words, "serverAuth")
		case x509.ExtKeyUsageClientAuth:
			words = append(words, "clientAuth")
		default:
			words = append(words, fmt.Sprint(usage))
		}
	}
	for _, oid := range leaf.UnknownExtKeyUsage {
		words = append(words, oid.String())
	}
	return words
}

func critical(extensions []pkix.Extension) []string {
	oids := []string{}
	for _, extension := range extensions {
		if extension.Critical {
			oids = append(oids, extension.Id.String())
		}
	}
	slices.Sort(oids)
	return oids
}

func subject(name pkix.Name) []string {
	words := []string{}
	for _, part := range name.Names {
		short := map[string]string{"2.5.4.10": "O", "2.5.4.3": "CN"}[part.Type.String()]
		words = append(words, fmt.Sprintf("%s=%v", short, part.Value))
	}
	return words
}

// The subject alternative names in the order in which they stand, which crypto/x509 does not keep.
func names(value []byte) ([]string, error) {
	var sequence asn1.RawValue
	if rest, err := asn1.Unmarshal(value, &sequence); err != nil || len(rest) != 0 {
		return nil, fmt.Errorf("the names are no sequence: %x", value)
	}
	words := []string{}
	for rest := sequence.Bytes; len(rest) > 0; {
		var name asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &name); err != nil {
			return nil, err
		}
		kind := map[int]string{2: "DNS", 6: "URI"}[name.Tag]
		words = append(words, kind+":"+string(name.Bytes))
	}
	return words, nil
}
