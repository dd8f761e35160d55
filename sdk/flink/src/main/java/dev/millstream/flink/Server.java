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

/** The process {@code millstream serve} that all tasks of this JVM share. It ends with the last of them, or with the JVM. */
final class Server {
    private static final Logger LOG = LoggerFactory.getLogger(Server.class);
    /** Each task has one. */
    private static final String CONNECTIONS_MAX = "1024";

    private static final Map<String, Server> RUNNING = new HashMap<>();

    private final String program;
    private final Path folder;
    private final Process process;
    private int users;

    private Server(String program) throws IOException {
        this.program = program;
        // Its user's alone; short, as the path of a socket must be.
        folder = Files.createTempDirectory("millstream-");
        // Its standard input is a pipe that this JVM holds: when that is gone, by whatever way, the process ends.
        process = new ProcessBuilder(
                        program, "serve", "--socket", socket().toString(), "--with-parent", "--connections", CONNECTIONS_MAX)
                .redirectErrorStream(true)
                .start();
        // What it says first is that it can be connected to.
        BufferedReader said = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
        String line;
        StringBuilder told = new StringBuilder();
        while ((line = said.readLine()) != null && !line.startsWith("serving plugins on ")) {
            told.append(line).append('\n');
        }
        if (line == null) {
            stop();
            throw new IOException("`" + program + " serve` ended: " + told);
        }
        Thread log = new Thread(() -> said.lines().forEach(LOG::warn), "millstream-log");
        log.setDaemon(true);
        log.start();
    }

    private Path socket() {
        return folder.resolve("socket");
    }

    /** A connection to the server of this program. A server that has exited is started again. */
    static Channel connect(String program) throws IOException {
        synchronized (RUNNING) {
            Server server = RUNNING.get(program);
            if (server != null && server.process.isAlive()) {
                try {
                    return server.open();
                } catch (ClosedByInterruptException error) {
                    throw error;
                } catch (IOException error) {
                    // It has just been killed, and this JVM has not heard of it yet.
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

    /** A connection, which counts as a user of its server. */
    static final class Channel implements AutoCloseable {
        final SocketChannel bytes;
        private Server server;

        private Channel(Server server, SocketChannel bytes) {
            this.server = server;
            this.bytes = bytes;
        }

        /**
         * The server has closed the connection: later connections get another one, even if this one is still exiting.
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
