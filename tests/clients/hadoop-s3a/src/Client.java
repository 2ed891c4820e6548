import java.io.IOException;
import java.net.URI;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/** A long-lived file system of Hadoop's S3A. */
public final class Client {
    private Client() {}

    public static void main(String[] arguments) throws IOException {
        Configuration settings = new Configuration();
        settings.set("fs.s3a.endpoint", System.getenv("CLIENT_ENDPOINT"));
        settings.set("fs.s3a.endpoint.region", System.getenv("AWS_REGION"));
        settings.set("fs.s3a.path.style.access", "true");
        try (FileSystem files = FileSystem.get(URI.create("s3a://" + System.getenv("CLIENT_BUCKET")), settings)) {
            Protocol.serve(() -> {
                files.getFileStatus(new Path("/hello"));
                return null;
            });
        }
    }
}
