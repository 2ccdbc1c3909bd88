// A stock SPIFFE client for Go (go-spiffe, unmodified) that does what it is told.
//
// The socket is $SPIFFE_ENDPOINT_SOCKET. Commands and answers are those of tests/doors/clients, the same for every
// client: a command a line in, one JSON object a line out.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/status"
)

func main() {
	ctx := context.Background()
	client, err := workloadapi.New(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	say("ready", nil)
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
		words := strings.Split(commands.Text(), " ")
		answer, err := obey(ctx, client, words[0], words[1:])
		switch {
		case err != nil:
			say(words[0], failure(err))
		case answer != nil:
			say(words[0], answer)
		}
	}
}

func obey(ctx context.Context, client *workloadapi.Client, command string, words []string) (facts, error) {
	switch command {
	case "x509_svid":
		return x509Svid(ctx, client)
	case "x509_bundles":
		return x509Bundles(ctx, client)
	case "jwt_svid":
		return jwtSvid(ctx, client, words)
	case "jwt_bundles":
		return jwtBundles(ctx, client)
	case "validate":
		return validate(ctx, client, words[0], words[1])
	case "watch":
		go watch(ctx, client, words[0])
		return nil, nil
	}
	return nil, fmt.Errorf("no such command: %s", command)
}

func x509Svid(ctx context.Context, client *workloadapi.Client) (facts, error) {
	received, err := client.FetchX509Context(ctx)
	if err != nil {
		return nil, err
	}
	svid := received.DefaultSVID()
	id, _, err := x509svid.Verify(svid.Certificates, received.Bundles)
	if err != nil {
		return nil, err
	}
	return facts{"spiffe_id": id.String(), "chain": len(svid.Certificates), "serial": serial(svid)}, nil
}

func x509Bundles(ctx context.Context, client *workloadapi.Client) (facts, error) {
	set, err := client.FetchX509Bundles(ctx)
	if err != nil {
		return nil, err
	}
	names, authorities := []string{}, 0
	for _, bundle := range set.Bundles() {
		names = append(names, bundle.TrustDomain().Name())
		authorities += len(bundle.X509Authorities())
	}
	return facts{"trust_domains": names, "authorities": authorities}, nil
}

func jwtSvid(ctx context.Context, client *workloadapi.Client, audience []string) (facts, error) {
	svid, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience[0], ExtraAudiences: audience[1:]})
	if err != nil {
		return nil, err
	}
	return facts{"spiffe_id": svid.ID.String(), "audience": svid.Audience, "token": svid.Marshal()}, nil
}

func jwtBundles(ctx context.Context, client *workloadapi.Client) (facts, error) {
	set, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return nil, err
	}
	names, authorities := []string{}, 0
	for _, bundle := range set.Bundles() {
		names = append(names, bundle.TrustDomain().Name())
		authorities += len(bundle.JWTAuthorities())
	}
	return facts{"trust_domains": names, "authorities": authorities}, nil
}

// validate has the token judged by the agent, and then by this library with the agent's bundles.
func validate(ctx context.Context, client *workloadapi.Client, token, audience string) (facts, error) {
	if _, err := client.ValidateJWTSVID(ctx, token, audience); err != nil {
		return nil, err
	}
	set, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return nil, err
	}
	svid, err := jwtsvid.ParseAndValidate(token, set, []string{audience})
	if err != nil {
		return nil, err
	}
	return facts{"spiffe_id": svid.ID.String()}, nil
}

// watch tells what comes over a stream, and when the library gives it up.
func watch(ctx context.Context, client *workloadapi.Client, name string) {
	err := client.WatchX509Context(ctx, told(name))
	say("watch_ended", told(name).failure(err))
}

// told is the name of a watch.
type told string

func (name told) OnX509ContextUpdate(update *workloadapi.X509Context) {
	svid := update.DefaultSVID()
	say("update", facts{"watch": name, "spiffe_id": svid.ID.String(), "serial": serial(svid)})
}

func (name told) OnX509ContextWatchError(err error) {
	say("watch_error", name.failure(err))
}

func (name told) failure(err error) facts {
	what := failure(err)
	what["watch"] = name
	return what
}

func serial(svid *x509svid.SVID) string {
	return svid.Certificates[0].SerialNumber.Text(16)
}

type facts map[string]any

func failure(err error) facts {
	return facts{"code": int(status.Code(err)), "message": err.Error()}
}

var printing sync.Mutex

func say(step string, what facts) {
	line := facts{"step": step}
	for name, value := range what {
		line[name] = value
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(text))
}
