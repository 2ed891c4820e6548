import com.amazonaws.Request;
import com.amazonaws.client.builder.AwsClientBuilder.EndpointConfiguration;
import com.amazonaws.handlers.HandlerAfterAttemptContext;
import com.amazonaws.handlers.RequestHandler2;
import com.amazonaws.services.securitytoken.AWSSecurityTokenService;
import com.amazonaws.services.securitytoken.AWSSecurityTokenServiceClientBuilder;
import com.amazonaws.services.securitytoken.model.GetCallerIdentityRequest;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;

/** One long-lived client of the AWS SDK for Java 1; see ../../README.md for what it reads and prints. */
public final class Client {
    private Client() {}

    /** Keeps the access key that the last request was signed with. */
    private static final class SignedWith extends RequestHandler2 {
        private volatile String key;

        @Override
        public void afterAttempt(HandlerAfterAttemptContext context) {
            Request<?> request = context.getRequest();
            key = request.getHeaders().get("Authorization").replaceFirst(".*Credential=([^/]+)/.*", "$1");
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
        // It does not know AWS_ENDPOINT_URL.
        EndpointConfiguration endpoint =
            new EndpointConfiguration(System.getenv("CLIENT_ENDPOINT"), System.getenv("AWS_REGION"));
        AWSSecurityTokenService sts = AWSSecurityTokenServiceClientBuilder.standard()
            .withEndpointConfiguration(endpoint)
            .withRequestHandlers(signed)
            .build();
        while (asked.readLine() != null) {
            try {
                sts.getCallerIdentity(new GetCallerIdentityRequest());
                System.out.println("{\"ok\":true,\"key\":" + quoted(signed.key) + "}");
            } catch (RuntimeException error) {
                System.out.println("{\"ok\":false,\"error\":" + quoted(chain(error)) + "}");
            }
        }
        sts.shutdown();
    }
}
