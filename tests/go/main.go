// A stock SPIFFE client for Go (go-spiffe, unmodified), taken through the whole Workload API.
//
// The socket is $SPIFFE_ENDPOINT_SOCKET. Prints one JSON object a line, `step` in front, in the same words as
// tests/py/workload_client.py, so one test reads both. Any surprise ends it with a message and exit code 1.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func main() {
	audience := flag.String("audience", "", "also fetch and validate a JWT-SVID for this audience")
	updates := flag.Int("updates", 1, "watch until so many different SVIDs were seen")
	timeout := flag.Float64("timeout", 60, "seconds that all may take")
	flag.Parse()

	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(*timeout*float64(time.Second)))
	defer cancel()
	if err := run(ctx, *audience, *updates); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, audience string, updates int) error {
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := x509Svid(ctx, client); err != nil {
		return err
	}
	if err := x509Bundles(ctx, client); err != nil {
		return err
	}
	if audience != "" {
		if err := jwtSvid(ctx, client, audience); err != nil {
			return err
		}
	}
	if err := watch(ctx, client, updates); err != nil {
		return err
	}
	say("done", nil)
	return nil
}

func x509Svid(ctx context.Context, client *workloadapi.Client) error {
	received, err := client.FetchX509Context(ctx)
	if err != nil {
		return err
	}
	svid := received.DefaultSVID()
	id, _, err := x509svid.Verify(svid.Certificates, received.Bundles)
	if err != nil {
		return err
	}
	leaf := svid.Certificates[0]
	say("x509_svid", facts{"spiffe_id": id.String(), "chain": len(svid.Certificates), "not_after": leaf.NotAfter.Unix()})
	return nil
}

func x509Bundles(ctx context.Context, client *workloadapi.Client) error {
	set, err := client.FetchX509Bundles(ctx)
	if err != nil {
		return err
	}
	names, authorities := []string{}, 0
	for _, bundle := range set.Bundles() {
		names = append(names, bundle.TrustDomain().Name())
		authorities += len(bundle.X509Authorities())
	}
	say("x509_bundles", facts{"trust_domains": names, "authorities": authorities})
	return nil
}

func jwtSvid(ctx context.Context, client *workloadapi.Client, audience string) error {
	svid, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return err
	}
	say("jwt_svid", facts{"spiffe_id": svid.ID.String(), "audience": svid.Audience, "expires": svid.Expiry.Unix()})

	set, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return err
	}
	names, authorities := []string{}, 0
	for _, bundle := range set.Bundles() {
		names = append(names, bundle.TrustDomain().Name())
		authorities += len(bundle.JWTAuthorities())
	}
	say("jwt_bundles", facts{"trust_domains": names, "authorities": authorities})

	token := svid.Marshal()
	if _, err := jwtsvid.ParseAndValidate(token, set, []string{audience}); err != nil {
		return err
	}
	validated, err := client.ValidateJWTSVID(ctx, token, audience)
	if err != nil {
		return err
	}
	say("validated", facts{"spiffe_id": validated.ID.String()})
	if err := refused(ctx, client, token, "https://somebody-else.test", "another audience"); err != nil {
		return err
	}
	return refused(ctx, client, forged(token), audience, "a forged signature")
}

// forged is the token with one bit of its signature turned.
func forged(token string) string {
	at := strings.LastIndexByte(token, '.') + 1
	other := "A"
	if token[at] == 'A' {
		other = "B"
	}
	return token[:at] + other + token[at+1:]
}

func refused(ctx context.Context, client *workloadapi.Client, token, audience, why string) error {
	if _, err := client.ValidateJWTSVID(ctx, token, audience); err == nil {
		return fmt.Errorf("validated in spite of %s", why)
	}
	say("refused", facts{"why": why})
	return nil
}

// watch holds a stream open until so many different SVIDs came over it.
func watch(ctx context.Context, client *workloadapi.Client, updates int) error {
	ctx, stop := context.WithCancelCause(ctx)
	watcher := &seen{updates: updates, stop: stop}
	err := client.WatchX509Context(ctx, watcher)
	if len(watcher.serials) >= updates {
		return nil
	}
	return fmt.Errorf("%d of %d SVIDs: %w; %w", len(watcher.serials), updates, err, context.Cause(ctx))
}

type seen struct {
	updates int
	serials []string
	stop    context.CancelCauseFunc
}

func (s *seen) OnX509ContextUpdate(update *workloadapi.X509Context) {
	svid := update.DefaultSVID()
	serial := svid.Certificates[0].SerialNumber.Text(16)
	for _, known := range s.serials {
		if known == serial {
			return
		}
	}
	s.serials = append(s.serials, serial)
	say("update", facts{"serial": serial, "spiffe_id": svid.ID.String()})
	if len(s.serials) >= s.updates {
		s.stop(nil)
	}
}

func (s *seen) OnX509ContextWatchError(err error) {
	s.stop(err)
}

type facts map[string]any

func say(step string, what facts) {
	line := facts{"step": step}
	for name, value := range what {
		line[name] = value
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}
