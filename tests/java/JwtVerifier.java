import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.DefaultResourceRetriever;
import com.nimbusds.jose.util.JSONObjectUtils;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import java.io.FileInputStream;
import java.net.URI;
import java.net.URL;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * Verifies a JWT as a reader of OpenID Connect does (Nimbus JOSE + JWT, unmodified), with nothing but the issuer's name.
 *
 * <pre>JwtVerifier ISSUER AUDIENCE CA.pem TOKEN</pre>
 *
 * Says the claims as a line of JSON, or why not on standard error.
 */
public final class JwtVerifier {
    public static void main(String[] words) {
        try {
            System.out.println(JSONObjectUtils.toJSONString(verify(words[0], words[1], words[2], words[3]).toJSONObject()));
        } catch (Exception why) {
            System.err.println(why);
            System.exit(1);
        }
    }

    private static JWTClaimsSet verify(String issuer, String audience, String ca, String token) throws Exception {
        var retriever = new DefaultResourceRetriever(5000, 5000, 65536, true, trusting(ca).getSocketFactory());
        URL document = URI.create(issuer + "/.well-known/openid-configuration").toURL();
        Map<String, Object> provider = JSONObjectUtils.parse(retriever.retrieveResource(document).getContent());
        if (!issuer.equals(provider.get("issuer"))) {
            throw new IllegalStateException("the document is of " + provider.get("issuer"));
        }
        List<String> said = JSONObjectUtils.getStringList(provider, "id_token_signing_alg_values_supported");
        Set<JWSAlgorithm> algorithms = said.stream().map(JWSAlgorithm::parse).collect(Collectors.toSet());
        URL keys = URI.create(JSONObjectUtils.getString(provider, "jwks_uri")).toURL();
        var source = JWKSourceBuilder.<SecurityContext>create(keys, retriever).build();
        var processor = new DefaultJWTProcessor<SecurityContext>();
        processor.setJWSKeySelector(new JWSVerificationKeySelector<>(algorithms, source));
        processor.setJWTClaimsSetVerifier(new DefaultJWTClaimsVerifier<>(
                audience, new JWTClaimsSet.Builder().issuer(issuer).build(), Set.of("exp", "iat", "jti", "sub")));
        return processor.process(token, null);
    }

    private static SSLContext trusting(String ca) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (var pem = new FileInputStream(ca)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }
}
