import io.minio.MinioClient;
import io.minio.StatObjectArgs;
import io.minio.credentials.IamAwsProvider;
import java.io.IOException;

/** A long-lived client of MinIO's library for Java, which has no default chain: this provider is the one for what AWS gives. */
public final class Client {
    private Client() {}

    public static void main(String[] arguments) throws IOException {
        IamAwsProvider provider = new IamAwsProvider(null, null);
        MinioClient storage = MinioClient.builder()
            .endpoint(System.getenv("CLIENT_ENDPOINT"))
            .region(System.getenv("AWS_REGION"))
            .credentialsProvider(provider)
            .build();
        StatObjectArgs hello = StatObjectArgs.builder().bucket(System.getenv("CLIENT_BUCKET")).object("hello").build();
        Protocol.serve(() -> {
            storage.statObject(hello);
            return null;
        });
        System.exit(0);
    }
}
