package dev.millstream.flink;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The process {@code millstream serve} that all tasks of this JVM share. It exits with the last task, or with the JVM. */
final class Server {
    private static final Logger LOG = LoggerFactory.getLogger(Server.class);
    /** Maximum connections, one per task. */
    private static final String CONNECTIONS_MAX = "1024";

    private static final Map<String, Server> RUNNING = new HashMap<>();

    private final String program;
    private final Path folder;
    private final Process process;
    private int users;

    private Server(String program) throws IOException {
        this.program = program;
        // Only the user can access the directory. Its path is short, since socket paths have a small maximum length.
        folder = Files.createTempDirectory("millstream-");
        // This JVM holds the pipe to the standard input. When the JVM exits in any way, the pipe closes and the process exits.
        process = new ProcessBuilder(
                        program, "serve", "--socket", socket().toString(), "--with-parent", "--connections", CONNECTIONS_MAX)
                .redirectErrorStream(true)
                .start();
        // The first line reports that the server accepts connections.
        BufferedReader lines = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
        String line;
        StringBuilder output = new StringBuilder();
        while ((line = lines.readLine()) != null && !line.startsWith("serving plugins on ")) {
            output.append(line).append('\n');
        }
        if (line == null) {
            stop();
            throw new IOException("`" + program + " serve` ended: " + output);
        }
        Thread log = new Thread(() -> lines.lines().forEach(LOG::warn), "millstream-log");
        log.setDaemon(true);
        log.start();
    }

    private Path socket() {
        return folder.resolve("socket");
    }

    /** Connects to the server of this program. Restarts a server that has exited. */
    static Channel connect(String program) throws IOException {
        synchronized (RUNNING) {
            Server server = RUNNING.get(program);
            if (server != null && server.process.isAlive()) {
                try {
                    return server.open();
                } catch (ClosedByInterruptException error) {
                    throw error;
                } catch (IOException error) {
                    // The process was killed, but this JVM has not been notified yet.
                    server.process.destroyForcibly();
                }
            }
            server = new Server(program);
            RUNNING.put(program, server);
            return server.open();
        }
    }

    private Channel open() throws IOException {
        Channel channel = new Channel(this, SocketChannel.open(UnixDomainSocketAddress.of(socket())));
        users++;
        return channel;
    }

    /** A connection, counted as a user of its server. */
    static final class Channel implements AutoCloseable {
        final SocketChannel bytes;
        private Server server;

        private Channel(Server server, SocketChannel bytes) {
            this.server = server;
            this.bytes = bytes;
        }

        /**
         * Removes a server that closed the connection, so that later connections use another one even if it is still exiting.
         */
        void retireServer() {
            synchronized (RUNNING) {
                if (server != null) {
                    RUNNING.remove(server.program, server);
                }
            }
        }

        @Override
        public void close() throws IOException {
            bytes.close();
            synchronized (RUNNING) {
                Server left = server;
                server = null;
                if (left != null && --left.users == 0) {
                    RUNNING.remove(left.program, left);
                    left.stop();
                }
            }
        }
    }

    private void stop() throws IOException {
        process.getOutputStream().close();
        boolean interrupted = false;
        try {
            if (!process.waitFor(5, TimeUnit.SECONDS)) {
                process.destroyForcibly();
            }
        } catch (InterruptedException error) {
            interrupted = true;
            process.destroyForcibly();
        }
        Files.deleteIfExists(socket());
        Files.deleteIfExists(folder);
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
