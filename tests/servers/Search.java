import org.codelibs.opensearch.runner.OpenSearchRunner;

/** An OpenSearch with one node: arguments port, and the directory of its data. Exits when its standard input ends. */
public final class Search {
    public static void main(String[] arguments) throws Exception {
        try (var runner = new OpenSearchRunner()) {
            // The first node gets the port after the base. Without a maximum, OpenSearch would try other ports.
            runner.setMaxHttpPort(-1);
            var base = Integer.toString(Integer.parseInt(arguments[0]) - 1);
            runner.build("-basePath", arguments[1], "-numOfNode", "1", "-baseHttpPort", base);
            System.in.transferTo(java.io.OutputStream.nullOutputStream());
        }
        System.exit(0);
    }
}
