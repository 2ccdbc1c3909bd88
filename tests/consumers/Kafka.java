import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Kafka itself: a broker by its properties, or whoever speaks with one.
 *
 * <pre>
 * Kafka serve PROPERTIES
 * Kafka speak BOOTSTRAP     then a line each: "allow TOPIC PRINCIPAL", by plain text, or
 *                           "write TOPIC BOOTSTRAP PROPERTIES", by a client with these
 * </pre>
 *
 * A line is answered with "ok" and what was written where, or why not.
 */
public final class Kafka {
    private static final String CLUSTER = "AAAAAAAAAAAAAAAAAAAAAA";

    private Kafka() {}

    public static void main(String[] args) throws Exception {
        if (args[0].equals("serve")) {
            kafka.tools.StorageTool.execute(new String[] {"format", "-t", CLUSTER, "-c", args[1]}, System.out);
            kafka.Kafka.main(new String[] {args[1]});
            return;
        }
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            System.out.println(answer(args[1], line.split(" ")));
        }
    }

    private static String answer(String local, String[] words) {
        try {
            return "ok " + (words[0].equals("allow")
                ? allow(local, words[1], words[2])
                : write(words[1], words[2], Path.of(words[3])));
        } catch (Exception refused) {
            return (refused + " " + refused.getCause()).replace('\n', ' ');
        }
    }

    /** A topic that this principal may write to. */
    private static String allow(String local, String topic, String principal) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", local))) {
            admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get();
            ResourcePattern pattern = new ResourcePattern(ResourceType.TOPIC, topic, PatternType.LITERAL);
            AccessControlEntry entry =
                new AccessControlEntry(principal, "*", AclOperation.WRITE, AclPermissionType.ALLOW);
            admin.createAcls(List.of(new AclBinding(pattern, entry))).all().get();
        }
        return topic;
    }

    private static String write(String topic, String bootstrap, Path properties) throws Exception {
        Properties all = new Properties();
        try (Reader reader = Files.newBufferedReader(properties)) {
            all.load(reader);
        }
        all.put("bootstrap.servers", bootstrap);
        all.put("enable.idempotence", "false");
        StringSerializer texts = new StringSerializer();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(all, texts, texts)) {
            return Long.toString(producer.send(new ProducerRecord<>(topic, "deployed")).get().offset());
        }
    }
}
