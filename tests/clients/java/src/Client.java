import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.services.sts.StsClient;

/** One long-lived client of the AWS SDK for Java 2; see ../../README.md for what it reads and prints. */
public final class Client {
    private Client() {}

    /** Keeps the access key that the last request was signed with. */
    private static final class SignedWith implements ExecutionInterceptor {
        private volatile String key;

        @Override
        public void beforeTransmission(Context.BeforeTransmission context, ExecutionAttributes attributes) {
            String header = context.httpRequest().firstMatchingHeader("Authorization").orElseThrow();
            key = header.replaceFirst(".*Credential=([^/]+)/.*", "$1");
        }
    }

    private static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        text.chars().forEach(c -> quoted.append(c < ' ' || c == '"' || c == '\\' ? String.format("\\u%04x", c) : (char) c));
        return quoted.append('"').toString();
    }

    private static String chain(Throwable error) {
        return error + (error.getCause() == null ? "" : "\ncaused by: " + chain(error.getCause()));
    }

    public static void main(String[] arguments) throws IOException {
        BufferedReader asked = new BufferedReader(new InputStreamReader(System.in));
        SignedWith signed = new SignedWith();
        try (StsClient sts = StsClient.builder().overrideConfiguration(o -> o.addExecutionInterceptor(signed)).build()) {
            while (asked.readLine() != null) {
                try {
                    sts.getCallerIdentity();
                    System.out.println("{\"ok\":true,\"key\":" + quoted(signed.key) + "}");
                } catch (RuntimeException error) {
                    System.out.println("{\"ok\":false,\"error\":" + quoted(chain(error)) + "}");
                }
            }
        }
    }
}
