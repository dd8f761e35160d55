import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.TreeSet;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Options;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.hdfs.MiniDFSCluster;

/**
 * An HDFS cluster with a name node and a data node, and its data in a directory: `Files.java PORT PORT DIR`. The name node
 * listens on the first port. On the second one, Hadoop's own client handles HTTP requests of tests: PUT, GET and DELETE of a
 * path, and GET of a path with `?list` for the names of all files below it. Exits when its standard input ends.
 */
class FilesOfCluster {
    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        java.nio.file.Path folder = java.nio.file.Path.of(arguments[2]);
        Configuration settings = new Configuration();
        // A cluster of this size is complete as soon as its data node has started.
        settings.set("dfs.namenode.safemode.extension", "0");
        settings.set("dfs.namenode.fs-limits.min-block-size", "1024");
        boolean isNew = !Files.exists(folder.resolve("data"));
        MiniDFSCluster cluster = new MiniDFSCluster.Builder(settings, folder.toFile())
                .nameNodePort(port).numDataNodes(1).format(isNew).build();
        cluster.waitClusterUp();
        DistributedFileSystem files = cluster.getFileSystem();
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[1])), 0);
        server.createContext("/", exchange -> {
            try (exchange) {
                answer(exchange, files);
            }
        });
        server.start();
        System.err.println("hdfs: listens on 127.0.0.1:" + port);
        while (System.in.read() >= 0) {
        }
        Runtime.getRuntime().halt(0);
    }

    static void answer(HttpExchange exchange, DistributedFileSystem files) throws IOException {
        Path path = new Path(exchange.getRequestURI().getPath());
        byte[] found = new byte[0];
        try {
            switch (exchange.getRequestMethod()) {
                case "PUT":
                    put(files, path, exchange.getRequestBody());
                    break;
                case "DELETE":
                    files.delete(path, true);
                    break;
                default:
                    found = "list".equals(exchange.getRequestURI().getQuery()) ? list(files, path)
                            : files.open(path).readAllBytes();
            }
            exchange.sendResponseHeaders(200, found.length == 0 ? -1 : found.length);
            exchange.getResponseBody().write(found);
        } catch (FileNotFoundException nothing) {
            exchange.sendResponseHeaders(404, -1);
        } catch (Exception failed) {
            byte[] why = failed.toString().getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(500, why.length);
            exchange.getResponseBody().write(why);
        }
    }

    /** Renames a file when it is complete, like `hdfs dfs -put`. A file that is still written can be read, but changes. */
    static void put(DistributedFileSystem files, Path path, InputStream content) throws IOException {
        Path draft = path.suffix("._COPYING_");
        try (OutputStream file = files.create(draft, true)) {
            content.transferTo(file);
        }
        files.rename(draft, path, Options.Rename.OVERWRITE);
    }

    static byte[] list(DistributedFileSystem files, Path path) throws IOException {
        TreeSet<String> names = new TreeSet<>();
        if (files.exists(path)) {
            var found = files.listFiles(path, true);
            while (found.hasNext()) {
                names.add(found.next().getPath().toUri().getPath());
            }
        }
        return String.join("\n", names).getBytes(StandardCharsets.UTF_8);
    }
}
