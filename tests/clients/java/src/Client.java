import java.io.IOException;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.services.sts.StsClient;

/** A long-lived client of the AWS SDK for Java 2. */
public final class Client {
    private Client() {}

    private static final class SignedWith implements ExecutionInterceptor {
        private volatile String key;

        @Override
        public void beforeTransmission(Context.BeforeTransmission context, ExecutionAttributes attributes) {
            key = Protocol.key(context.httpRequest().firstMatchingHeader("Authorization").orElseThrow());
        }
    }

    public static void main(String[] arguments) throws IOException {
        SignedWith signed = new SignedWith();
        try (StsClient sts = StsClient.builder().overrideConfiguration(o -> o.addExecutionInterceptor(signed)).build()) {
            Protocol.serve(() -> {
                sts.getCallerIdentity();
                return signed.key;
            });
        }
    }
}
