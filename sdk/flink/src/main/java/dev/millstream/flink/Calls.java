package dev.millstream.flink;

import java.io.IOException;
import java.nio.channels.ClosedByInterruptException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Calls of one plugin. If the server has exited, it is restarted and the call is repeated once. This is safe, since a
 * call depends only on its arguments.
 */
final class Calls implements AutoCloseable {
    private final String program;
    private final byte[] hello;
    private Connection connection;

    Calls(Plugin plugin, String function, List<String> key) {
        program = plugin.program();
        hello = plugin.hello(function, key);
    }

    /** Connects, which reports errors of the plugin early. Returns the digest of its component. */
    String open() throws IOException {
        if (connection == null) {
            connection = new Connection(program, hello);
        }
        return connection.digest();
    }

    /** Calls the plugin with tables. Returns its tables. */
    List<byte[]> call(Long timeUs, List<byte[]> tables) throws IOException {
        Map<String, Object> said = new LinkedHashMap<>();
        if (timeUs != null) {
            said.put("time_us", timeUs);
        }
        byte[] header = Plugin.json(Map.of("call", said));
        try {
            open();
            return connection.call(header, tables);
        } catch (ClosedByInterruptException error) {
            throw error;
        } catch (IOException error) {
            if (connection != null) {
                connection.retireServer();
            }
            close();
            try {
                open();
                return connection.call(header, tables);
            } catch (IOException again) {
                again.addSuppressed(error);
                throw again;
            }
        }
    }

    @Override
    public void close() throws IOException {
        Connection closed = connection;
        connection = null;
        if (closed != null) {
            closed.close();
        }
    }
}
