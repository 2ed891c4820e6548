import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;

/** What the programs on the JVM share: a call for each line they are told, and its outcome as a line. See ../../README.md. */
final class Protocol {
    private Protocol() {}

    /** Makes one signed call, and returns the access key that it was signed with: null where the client does not tell. */
    interface Call {
        String signedWith() throws Exception;
    }

    static void serve(Call call) throws IOException {
        BufferedReader told = new BufferedReader(new InputStreamReader(System.in));
        while (told.readLine() != null) {
            try {
                String key = call.signedWith();
                System.out.println("{\"ok\":true" + (key == null ? "" : ",\"key\":" + quoted(key)) + "}");
            } catch (Exception error) {
                System.out.println("{\"ok\":false,\"error\":" + quoted(chain(error)) + "}");
            }
        }
    }

    /** The access key of an Authorization header. */
    static String key(String header) {
        return header.replaceFirst(".*Credential=([^/]+)/.*", "$1");
    }

    private static String chain(Throwable error) {
        StringBuilder chain = new StringBuilder(error.toString());
        for (Throwable hidden : error.getSuppressed()) {
            chain.append(", with ").append(hidden);
        }
        return error.getCause() == null ? chain.toString() : chain + ", caused by " + chain(error.getCause());
    }

    private static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        text.chars().forEach(c -> quoted.append(c < ' ' || c == '"' || c == '\\' ? String.format("\\u%04x", c) : (char) c));
        return quoted.append('"').toString();
    }
}
