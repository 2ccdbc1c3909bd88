import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsParameters;
import com.sun.net.httpserver.HttpsServer;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.CertStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.CollectionCertStoreParameters;
import java.security.cert.PKIXBuilderParameters;
import java.security.cert.X509CertSelector;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.concurrent.Executors;
import javax.net.ssl.CertPathTrustManagerParameters;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.TrustManagerFactory;

/**
 * A server by Java's own TLS, on files as an agent leaves them, that says "ok" to whoever it lets in.
 *
 * <pre>Consumer plain|revocation sessions|no-sessions PORT FOLDER</pre>
 */
public final class Consumer {
    private static final CertificateFactory X509 = factory();
    private static final char[] NO_PASSWORD = new char[0];

    private Consumer() {}

    public static void main(String[] args) throws Exception {
        String kind = args[0];
        int port = Integer.parseInt(args[2]);
        Path folder = Path.of(args[3]);
        SSLContext context = SSLContext.getInstance("TLS");
        KeyManagerFactory svid = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        svid.init(svid(folder), NO_PASSWORD);
        TrustManagerFactory trust = kind.equals("revocation") ? checkingRevocation(folder) : asItComes(folder);
        context.init(svid.getKeyManagers(), trust.getTrustManagers(), null);
        if (args[1].equals("no-sessions")) {
            context.getServerSessionContext().setSessionTimeout(1);
        }

        HttpsServer server = HttpsServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.setHttpsConfigurator(new HttpsConfigurator(context) {
            @Override
            public void configure(HttpsParameters parameters) {
                SSLParameters mutual = context.getDefaultSSLParameters();
                mutual.setNeedClientAuth(true);
                parameters.setSSLParameters(mutual);
            }
        });
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, 2);
            exchange.getResponseBody().write("ok".getBytes(StandardCharsets.US_ASCII));
            exchange.close();
        });
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
    }

    private static TrustManagerFactory asItComes(Path folder) throws Exception {
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(bundle(folder));
        return trust;
    }

    private static TrustManagerFactory checkingRevocation(Path folder) throws Exception {
        PKIXBuilderParameters pkix = new PKIXBuilderParameters(bundle(folder), new X509CertSelector());
        pkix.setRevocationEnabled(true);
        try (InputStream crls = Files.newInputStream(folder.resolve("svid_crl.pem"))) {
            var known = new CollectionCertStoreParameters(X509.generateCRLs(crls));
            pkix.addCertStore(CertStore.getInstance("Collection", known));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(new CertPathTrustManagerParameters(pkix));
        return trust;
    }

    private static KeyStore bundle(Path folder) throws Exception {
        KeyStore store = empty();
        int number = 0;
        for (Certificate root : certificates(folder.resolve("svid_bundle.pem"))) {
            store.setCertificateEntry("root-" + number++, root);
        }
        return store;
    }

    private static KeyStore svid(Path folder) throws Exception {
        String pem = Files.readString(folder.resolve("svid_key.pem")).replaceAll("-----[^-]+-----|\\s", "");
        PrivateKey key = KeyFactory.getInstance("EC")
                .generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
        KeyStore store = empty();
        store.setKeyEntry("svid", key, NO_PASSWORD, certificates(folder.resolve("svid.pem")));
        return store;
    }

    private static KeyStore empty() throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        return store;
    }

    private static Certificate[] certificates(Path file) throws Exception {
        try (InputStream pem = new ByteArrayInputStream(Files.readAllBytes(file))) {
            return X509.generateCertificates(pem).toArray(new Certificate[0]);
        }
    }

    private static CertificateFactory factory() {
        try {
            return CertificateFactory.getInstance("X.509");
        } catch (java.security.cert.CertificateException missing) {
            throw new IllegalStateException(missing);
        }
    }
}
