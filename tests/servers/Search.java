import org.codelibs.opensearch.runner.OpenSearchRunner;

/** An OpenSearch of one node: arguments port, and the folder of its data. It ends when its standard input does. */
public final class Search {
    public static void main(String[] arguments) throws Exception {
        try (var runner = new OpenSearchRunner()) {
            // The first node gets the port after the base; without a bound that is not looked for elsewhere.
            runner.setMaxHttpPort(-1);
            var base = Integer.toString(Integer.parseInt(arguments[0]) - 1);
            runner.build("-basePath", arguments[1], "-numOfNode", "1", "-baseHttpPort", base);
            System.in.transferTo(java.io.OutputStream.nullOutputStream());
        }
        System.exit(0);
    }
}
