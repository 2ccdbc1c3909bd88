// Judges certificates with what the JDK has, for tests/judges. Requests and answers are those of tests/go/judge.

import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStreamReader;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.PublicKey;
import java.security.cert.CertPathValidator;
import java.security.cert.CertificateFactory;
import java.security.cert.PKIXBuilderParameters;
import java.security.cert.PKIXParameters;
import java.security.cert.X509CertSelector;
import java.security.cert.X509Certificate;
import java.security.interfaces.ECPublicKey;
import java.security.interfaces.EdECPublicKey;
import java.security.interfaces.RSAPublicKey;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import javax.naming.ldap.LdapName;
import javax.net.ssl.CertPathTrustManagerParameters;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

public final class Judge {
    private static final String FULCIO = "1.3.6.1.4.1.57264.1.";
    private static final String[] KEY_USAGE = {
        "digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign",
        "cRLSign", "encipherOnly", "decipherOnly"
    };

    public static void main(String[] arguments) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new java.io.PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Map<String, Object> said;
            try {
                said = answer(line.split("\t"));
            } catch (Exception fault) {
                said = new TreeMap<>(Map.of("error", String.valueOf(fault)));
            }
            out.println(json(said));
        }
    }

    private static Map<String, Object> answer(String[] words) throws Exception {
        if (words[0].equals("facts") && words.length == 2) {
            return facts(read(words[1]).get(0));
        }
        if (words[0].equals("verify") && words.length == 4) {
            return verify(words[1], read(words[2]), new Date(Long.parseLong(words[3]) * 1000));
        }
        throw new IllegalArgumentException("no such request: " + String.join(" ", words));
    }

    private static List<X509Certificate> read(String file) throws Exception {
        var bytes = new ByteArrayInputStream(Files.readAllBytes(Path.of(file)));
        var all = new ArrayList<X509Certificate>();
        for (var certificate : CertificateFactory.getInstance("X.509").generateCertificates(bytes)) {
            all.add((X509Certificate) certificate);
        }
        return all;
    }

    private static Map<String, Object> verify(String chain, List<X509Certificate> roots, Date at) throws Exception {
        var said = new TreeMap<String, Object>();
        try {
            var all = read(chain);
            var store = KeyStore.getInstance(KeyStore.getDefaultType());
            store.load(null, null);
            for (int root = 0; root < roots.size(); root++) {
                store.setCertificateEntry("root" + root, roots.get(root));
            }
            said.put("server", judged(() -> path(all, store, at), () -> side(all, store, at, true)));
            said.put("client", judged(() -> path(all, store, at), () -> side(all, store, at, false)));
        } catch (java.security.cert.CertificateException unreadable) {
            said.put("server", String.valueOf(unreadable));
            said.put("client", String.valueOf(unreadable));
        }
        return said;
    }

    private interface Check {
        void run() throws Exception;
    }

    private static String judged(Check... checks) {
        try {
            for (var check : checks) {
                check.run();
            }
            return "";
        } catch (Exception refused) {
            return String.valueOf(refused);
        }
    }

    /** RFC 5280 and nothing else: the chain exactly as it came. */
    private static void path(List<X509Certificate> chain, KeyStore roots, Date at) throws Exception {
        var parameters = new PKIXParameters(roots);
        parameters.setRevocationEnabled(false);
        parameters.setDate(at);
        var path = CertificateFactory.getInstance("X.509").generateCertPath(chain);
        CertPathValidator.getInstance("PKIX").validate(path, parameters);
    }

    /** As a TLS connection of Java's asks: path and purpose of the other side's certificate. */
    private static void side(List<X509Certificate> chain, KeyStore roots, Date at, boolean server) throws Exception {
        var parameters = new PKIXBuilderParameters(roots, new X509CertSelector());
        parameters.setRevocationEnabled(false);
        parameters.setDate(at);
        var factory = TrustManagerFactory.getInstance("PKIX");
        factory.init(new CertPathTrustManagerParameters(parameters));
        var manager = (X509TrustManager) factory.getTrustManagers()[0];
        var certificates = chain.toArray(new X509Certificate[0]);
        if (server) {
            manager.checkServerTrusted(certificates, "UNKNOWN");
        } else {
            manager.checkClientTrusted(certificates, "UNKNOWN");
        }
    }

    private static Map<String, Object> facts(X509Certificate leaf) throws Exception {
        var said = new TreeMap<String, Object>();
        said.put("spki", HexFormat.of().formatHex(leaf.getPublicKey().getEncoded()));
        said.put("key", key(leaf.getPublicKey()));
        said.put("not_before", leaf.getNotBefore().getTime() / 1000);
        said.put("not_after", leaf.getNotAfter().getTime() / 1000);
        said.put("ca", leaf.getBasicConstraints() != -1);
        said.put("critical", new ArrayList<>(new TreeSet<>(leaf.getCriticalExtensionOIDs())));
        var usage = new ArrayList<String>();
        for (int bit = 0; leaf.getKeyUsage() != null && bit < KEY_USAGE.length; bit++) {
            if (leaf.getKeyUsage()[bit]) {
                usage.add(KEY_USAGE[bit]);
            }
        }
        said.put("key_usage", usage);
        var purposes = new ArrayList<String>();
        for (var oid : leaf.getExtendedKeyUsage()) {
            purposes.add(Map.of("1.3.6.1.5.5.7.3.1", "serverAuth", "1.3.6.1.5.5.7.3.2", "clientAuth").getOrDefault(oid, oid));
        }
        said.put("purposes", purposes);
        var subject = new ArrayList<String>();
        for (var part : new LdapName(leaf.getSubjectX500Principal().getName()).getRdns()) {
            subject.add(part.getType() + "=" + part.getValue());
        }
        said.put("subject", subject);
        var names = new ArrayList<String>();
        var value = Der.inside(Der.only(leaf.getExtensionValue("2.5.29.17"), 0x04), 0x30);
        while (value.hasMore()) {
            var name = value.next();
            names.add((name.tag == 0x82 ? "DNS:" : name.tag == 0x86 ? "URI:" : name.tag + ":") + text(name.content));
        }
        said.put("names", names);
        var build = new TreeMap<String, Object>();
        for (var oid : leaf.getNonCriticalExtensionOIDs()) {
            if (oid.startsWith(FULCIO)) {
                build.put(oid.substring(FULCIO.length()), text(Der.only(Der.only(leaf.getExtensionValue(oid), 0x04), 0x0c)));
            }
        }
        said.put("build", build);
        return said;
    }

    private static String key(PublicKey key) {
        if (key instanceof ECPublicKey ec) {
            return "EC P-" + ec.getParams().getOrder().bitLength();
        }
        if (key instanceof RSAPublicKey rsa) {
            return "RSA " + rsa.getModulus().bitLength();
        }
        return key instanceof EdECPublicKey ed ? ed.getParams().getName() : key.getAlgorithm();
    }

    private static String text(byte[] utf8) throws CharacterCodingException {
        return StandardCharsets.UTF_8.newDecoder().decode(java.nio.ByteBuffer.wrap(utf8)).toString();
    }

    /** The little of DER that is needed: a run of values with lengths in their shortest form. */
    private static final class Der {
        final byte[] bytes;
        int at;
        int tag;
        byte[] content;

        Der(byte[] bytes) {
            this.bytes = bytes;
        }

        static byte[] only(byte[] bytes, int tag) {
            var value = new Der(bytes).next();
            if (value.tag != tag || value.hasMore()) {
                throw new IllegalArgumentException("not exactly one value of tag " + tag);
            }
            return value.content;
        }

        static Der inside(byte[] bytes, int tag) {
            return new Der(only(bytes, tag));
        }

        boolean hasMore() {
            return at < bytes.length;
        }

        Der next() {
            tag = bytes[at++] & 0xff;
            int length = bytes[at++] & 0xff;
            if (length >= 0x80) {
                int more = length & 0x7f;
                length = 0;
                for (int i = 0; i < more; i++) {
                    length = length << 8 | bytes[at++] & 0xff;
                }
                if (length < 0x80 || more > 1 && length < 1 << 8 * (more - 1)) {
                    throw new IllegalArgumentException("a length that could be shorter");
                }
            }
            content = Arrays.copyOfRange(bytes, at, at + length);
            at += length;
            if (at > bytes.length) {
                throw new IllegalArgumentException("cut short");
            }
            return this;
        }
    }

    private static String json(Object value) {
        if (value instanceof Map<?, ?> map) {
            var members = new ArrayList<String>();
            map.forEach((name, member) -> members.add(json(name) + ":" + json(member)));
            return "{" + String.join(",", members) + "}";
        }
        if (value instanceof List<?> list) {
            return "[" + String.join(",", list.stream().map(Judge::json).toList()) + "]";
        }
        if (value instanceof String text) {
            var quoted = new StringBuilder("\"");
            text.chars().forEach(unit -> quoted.append(
                    unit < 0x20 || unit == '"' || unit == '\\' ? String.format("\\u%04x", unit) : String.valueOf((char) unit)));
            return quoted.append('"').toString();
        }
        return String.valueOf(value);
    }
}
