import java.util.LinkedHashSet;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.services.sts.StsClient;

/** A long-lived client of the AWS SDK for Java: signed calls until it has used CLIENT_KEYS access keys. See ../../README.md. */
public final class Client {
    private static final Pattern CREDENTIAL = Pattern.compile("Credential=([^/]+)/");
    private static final Set<String> USED = new LinkedHashSet<>();

    private Client() {}

    private static final class NoteKey implements ExecutionInterceptor {
        @Override
        public void beforeTransmission(Context.BeforeTransmission context, ExecutionAttributes attributes) {
            Matcher found = CREDENTIAL.matcher(context.httpRequest().firstMatchingHeader("Authorization").orElseThrow());
            if (!found.find()) {
                throw new IllegalStateException("the request is not signed");
            }
            if (USED.add(found.group(1))) {
                System.out.println("key " + found.group(1));
            }
        }
    }

    private static int setting(String name, int otherwise) {
        String text = System.getenv(name);
        return text == null ? otherwise : Integer.parseInt(text);
    }

    private static void fail(String reason) {
        System.err.println(reason);
        System.exit(1);
    }

    public static void main(String[] arguments) throws InterruptedException {
        int wanted = setting("CLIENT_KEYS", 4);
        long deadline = System.nanoTime() + setting("CLIENT_DEADLINE_SECONDS", 90) * 1_000_000_000L;
        try (StsClient sts = StsClient.builder().overrideConfiguration(o -> o.addExecutionInterceptor(new NoteKey())).build()) {
            for (int calls = 1; ; calls++) {
                String arn = null;
                try {
                    arn = sts.getCallerIdentity().arn();
                } catch (RuntimeException error) {
                    error.printStackTrace();
                    fail("call " + (calls - 1) + " failed: " + error);
                }
                if (USED.size() >= wanted) {
                    System.out.println("done " + calls + " " + arn);
                    return;
                }
                if (System.nanoTime() > deadline) {
                    fail("deadline: " + USED.size() + " of " + wanted + " keys in " + calls + " calls");
                }
                Thread.sleep(200);
            }
        }
    }
}
