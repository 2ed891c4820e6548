import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/** One long-lived file system of Hadoop's S3A; see ../../README.md for what it reads and prints. */
public final class Client {
    private Client() {}

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
        Configuration settings = new Configuration();
        settings.set("fs.s3a.endpoint", System.getenv("CLIENT_ENDPOINT"));
        settings.set("fs.s3a.endpoint.region", System.getenv("AWS_REGION"));
        settings.set("fs.s3a.path.style.access", "true");
        URI bucket = URI.create("s3a://" + System.getenv("CLIENT_BUCKET"));
        FileSystem files = null;
        while (asked.readLine() != null) {
            try {
                if (files == null) {
                    files = FileSystem.get(bucket, settings);
                }
                files.getFileStatus(new Path("/hello"));
                System.out.println("{\"ok\":true,\"key\":null}");
            } catch (IOException | RuntimeException error) {
                System.out.println("{\"ok\":false,\"error\":" + quoted(chain(error)) + "}");
            }
        }
    }
}
