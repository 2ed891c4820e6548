import com.amazonaws.client.builder.AwsClientBuilder.EndpointConfiguration;
import com.amazonaws.handlers.HandlerAfterAttemptContext;
import com.amazonaws.handlers.RequestHandler2;
import com.amazonaws.services.securitytoken.AWSSecurityTokenService;
import com.amazonaws.services.securitytoken.AWSSecurityTokenServiceClientBuilder;
import com.amazonaws.services.securitytoken.model.GetCallerIdentityRequest;
import java.io.IOException;

/** A long-lived client of the AWS SDK for Java 1. */
public final class Client {
    private Client() {}

    private static final class SignedWith extends RequestHandler2 {
        private volatile String key;

        @Override
        public void afterAttempt(HandlerAfterAttemptContext context) {
            key = Protocol.key((String) context.getRequest().getHeaders().get("Authorization"));
        }
    }

    public static void main(String[] arguments) throws IOException {
        SignedWith signed = new SignedWith();
        // It does not know AWS_ENDPOINT_URL.
        EndpointConfiguration endpoint =
            new EndpointConfiguration(System.getenv("CLIENT_ENDPOINT"), System.getenv("AWS_REGION"));
        AWSSecurityTokenService sts = AWSSecurityTokenServiceClientBuilder.standard()
            .withEndpointConfiguration(endpoint)
            .withRequestHandlers(signed)
            .build();
        Protocol.serve(() -> {
            sts.getCallerIdentity(new GetCallerIdentityRequest());
            return signed.key;
        });
        sts.shutdown();
    }
}
