import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.X509Certificate;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLEngineResult.HandshakeStatus;
import javax.net.ssl.SSLException;
import org.apache.kafka.common.config.AbstractConfig;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.SslConfigs;
import org.apache.kafka.common.config.internals.BrokerSecurityConfigs;
import org.apache.kafka.common.network.ConnectionMode;
import org.apache.kafka.common.security.ssl.SslFactory;
import org.apache.kafka.common.security.ssl.SslPrincipalMapper;

/**
 * Kafka's own TLS, without a broker: the engines that a broker and a client make of their properties shake hands in memory.
 *
 * <pre>Kafka BROKER_PROPERTIES, then a line each: the properties of a client that calls, or "reload"</pre>
 *
 * Answers "ok", the serial number that the broker showed and the principal that the caller is to it; or why not.
 */
public final class Kafka {
    /** What the broker's listener is called in its properties. */
    private static final String LISTENER = "listener.name.mtls.";

    private final Path properties;
    private final SslFactory broker = new SslFactory(ConnectionMode.SERVER);
    private final SslPrincipalMapper principals;

    private Kafka(Path properties) throws IOException {
        this.properties = properties;
        broker.configure(of(properties));
        Object rules = read(properties).get(BrokerSecurityConfigs.SSL_PRINCIPAL_MAPPING_RULES_CONFIG);
        principals = SslPrincipalMapper.fromRules((String) rules);
    }

    public static void main(String[] args) throws Exception {
        Kafka kafka = new Kafka(Path.of(args[0]));
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            System.out.println(kafka.answer(line));
        }
    }

    private String answer(String line) {
        try {
            if (line.equals("reload")) {
                broker.reconfigure(of(properties));
                return "ok reloaded";
            }
            return shake(Path.of(line));
        } catch (Exception refused) {
            return (refused + " " + refused.getCause()).replace('\n', ' ');
        }
    }

    private String shake(Path caller) throws Exception {
        SSLEngine server = broker.createSslEngine("localhost", 0);
        SSLEngine client;
        try (SslFactory factory = new SslFactory(ConnectionMode.CLIENT)) {
            factory.configure(of(caller));
            client = factory.createSslEngine("localhost", 0);
        }
        ByteBuffer toServer = ByteBuffer.allocate(1 << 16);
        ByteBuffer toClient = ByteBuffer.allocate(1 << 16);
        client.beginHandshake();
        server.beginHandshake();
        for (int step = 0; step < 100 && !(isDone(client) && isDone(server)); step++) {
            turn(client, toClient, toServer);
            turn(server, toServer, toClient);
        }
        X509Certificate leaf = (X509Certificate) client.getSession().getPeerCertificates()[0];
        return "ok " + leaf.getSerialNumber().toString(16) + " "
            + principals.getName(server.getSession().getPeerPrincipal().getName());
    }

    private static boolean isDone(SSLEngine engine) {
        return engine.getHandshakeStatus() == HandshakeStatus.NOT_HANDSHAKING;
    }

    /** One side does what it can: thinks, reads what came, writes. */
    private static void turn(SSLEngine engine, ByteBuffer in, ByteBuffer out) throws SSLException {
        for (Runnable task = engine.getDelegatedTask(); task != null; task = engine.getDelegatedTask()) {
            task.run();
        }
        if (engine.getHandshakeStatus() == HandshakeStatus.NEED_WRAP) {
            engine.wrap(ByteBuffer.allocate(0), out);
            return;
        }
        in.flip();
        engine.unwrap(in, ByteBuffer.allocate(1 << 16));
        in.compact();
    }

    private static Map<String, Object> read(Path file) throws IOException {
        Properties all = new Properties();
        try (Reader reader = Files.newBufferedReader(file)) {
            all.load(reader);
        }
        Map<String, Object> found = new HashMap<>();
        all.forEach((name, value) -> found.put(((String) name).replace(LISTENER, ""), value));
        return found;
    }

    /** Typed, as Kafka's own programs have them. */
    private static Map<String, Object> of(Path file) throws IOException {
        ConfigDef known = new ConfigDef();
        SslConfigs.addClientSslSupport(known);
        Map<String, Object> written = read(file);
        Map<String, Object> typed = new HashMap<>(new AbstractConfig(known, written, false).values());
        typed.put(BrokerSecurityConfigs.SSL_CLIENT_AUTH_CONFIG, written.get(BrokerSecurityConfigs.SSL_CLIENT_AUTH_CONFIG));
        return typed;
    }
}
