import io.grpc.Status;
import io.spiffe.bundle.jwtbundle.JwtBundle;
import io.spiffe.bundle.jwtbundle.JwtBundleSet;
import io.spiffe.bundle.x509bundle.X509Bundle;
import io.spiffe.spiffeid.TrustDomain;
import io.spiffe.svid.jwtsvid.JwtSvid;
import io.spiffe.svid.x509svid.X509Svid;
import io.spiffe.svid.x509svid.X509SvidValidator;
import io.spiffe.workloadapi.DefaultWorkloadApiClient;
import io.spiffe.workloadapi.Watcher;
import io.spiffe.workloadapi.WorkloadApiClient;
import io.spiffe.workloadapi.X509Context;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Collection;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;

/**
 * A stock SPIFFE client for Java (java-spiffe, unmodified) that does what it is told.
 *
 * <p>The socket is $SPIFFE_ENDPOINT_SOCKET. Commands and answers are those of tests/doors/clients, the same for every
 * client: a command a line in, one JSON object a line out.
 */
public final class WorkloadClient {
    private final WorkloadApiClient client = DefaultWorkloadApiClient.newClient();

    private WorkloadClient() throws Exception {}

    public static void main(String[] none) throws Exception {
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        WorkloadClient told = new WorkloadClient();
        say("ready");
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] words = line.split(" ");
            try {
                told.obey(words[0], Arrays.copyOfRange(words, 1, words.length));
            } catch (Exception error) {
                sayFailure(words[0], error);
            }
        }
        System.exit(0);
    }

    private void obey(String command, String[] words) throws Exception {
        switch (command) {
            case "x509_svid" -> x509Svid();
            case "x509_bundles" -> x509Bundles();
            case "jwt_svid" -> jwtSvid(words);
            case "jwt_bundles" -> jwtBundles();
            case "validate" -> say(command, "spiffe_id", validated(words[0], words[1]).getSpiffeId().toString());
            case "watch" -> client.watchX509Context(new Told(words[0]));
            default -> throw new IllegalArgumentException(command);
        }
    }

    private void x509Svid() throws Exception {
        X509Context context = client.fetchX509Context();
        X509Svid svid = context.getDefaultSvid();
        X509SvidValidator.verifyChain(svid.getChain(), context.getX509BundleSet());
        say("x509_svid", "spiffe_id", svid.getSpiffeId().toString(), "chain", svid.getChain().size(),
                "serial", serial(svid));
    }

    private void x509Bundles() throws Exception {
        Collection<X509Bundle> bundles = client.fetchX509Bundles().getBundles().values();
        int authorities = bundles.stream().mapToInt(bundle -> bundle.getX509Authorities().size()).sum();
        say("x509_bundles", "trust_domains", names(bundles.stream().map(X509Bundle::getTrustDomain).toList()),
                "authorities", authorities);
    }

    private void jwtSvid(String[] audience) throws Exception {
        JwtSvid svid = client.fetchJwtSvid(audience[0], Arrays.copyOfRange(audience, 1, audience.length));
        say("jwt_svid", "spiffe_id", svid.getSpiffeId().toString(), "audience", new TreeSet<>(svid.getAudience()),
                "token", svid.getToken());
    }

    private void jwtBundles() throws Exception {
        Collection<JwtBundle> bundles = client.fetchJwtBundles().getBundles().values();
        int authorities = bundles.stream().mapToInt(bundle -> bundle.getJwtAuthorities().size()).sum();
        say("jwt_bundles", "trust_domains", names(bundles.stream().map(JwtBundle::getTrustDomain).toList()),
                "authorities", authorities);
    }

    /** Judged by the agent, and then by this library with the agent's bundles. */
    private JwtSvid validated(String token, String audience) throws Exception {
        client.validateJwtSvid(token, audience);
        JwtBundleSet bundles = client.fetchJwtBundles();
        return JwtSvid.parseAndValidate(token, bundles, Set.of(audience));
    }

    private static Set<String> names(Collection<TrustDomain> domains) {
        return domains.stream().map(TrustDomain::getName).collect(Collectors.toCollection(TreeSet::new));
    }

    private static String serial(X509Svid svid) {
        return svid.getLeaf().getSerialNumber().toString(16);
    }

    /** Tells what comes over a stream, and when the library gives it up. */
    private record Told(String watch) implements Watcher<X509Context> {
        @Override
        public void onUpdate(X509Context context) {
            X509Svid svid = context.getDefaultSvid();
            say("update", "watch", watch, "spiffe_id", svid.getSpiffeId().toString(), "serial", serial(svid));
        }

        @Override
        public void onError(Throwable error) {
            sayFailure("watch_ended", error, "watch", watch);
        }
    }

    private static void sayFailure(String step, Throwable error, Object... facts) {
        Status status = Status.fromThrowable(error);
        String message = status.getDescription() == null ? String.valueOf(error) : status.getDescription();
        Object[] all = Arrays.copyOf(facts, facts.length + 4);
        System.arraycopy(new Object[] {"code", status.getCode().value(), "message", message}, 0, all, facts.length, 4);
        say(step, all);
    }

    /** One line: names and values in turn. */
    private static synchronized void say(String step, Object... facts) {
        StringBuilder line = new StringBuilder("{\"step\":").append(json(step));
        for (int at = 0; at < facts.length; at += 2) {
            line.append(',').append(json(facts[at])).append(':').append(json(facts[at + 1]));
        }
        System.out.println(line.append('}'));
    }

    private static String json(Object value) {
        if (value instanceof Number) {
            return value.toString();
        }
        if (value instanceof Collection<?> values) {
            return values.stream().map(WorkloadClient::json).collect(Collectors.joining(",", "[", "]"));
        }
        StringBuilder text = new StringBuilder("\"");
        for (char one : value.toString().toCharArray()) {
            boolean plain = one >= ' ' && one < 0x7f && one != '"' && one != '\\';
            text.append(plain ? String.valueOf(one) : String.format("\\u%04x", (int) one));
        }
        return text.append('"').toString();
    }
}
