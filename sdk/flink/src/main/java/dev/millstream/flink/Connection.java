package dev.millstream.flink;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.AsynchronousCloseException;
import java.util.ArrayList;
import java.util.List;

/**
 * A connection to a plugin with the protocol of {@code docs/reference/serve-protocol.md}. A frame is a header, which is
 * JSON, and tables.
 */
final class Connection implements AutoCloseable {
    static final int VERSION = 1;
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final int LENGTH_BYTES = Integer.BYTES;

    private final Server.Channel channel;
    private final int frameBytesMax;
    private final String digest;

    /** A response. */
    record Response(JsonNode header, List<byte[]> tables) {}

    Connection(String program, byte[] hello) throws IOException {
        channel = Server.connect(program);
        Response ready;
        try {
            ready = request(hello, List.of(), Integer.MAX_VALUE);
        } catch (IOException error) {
            retireServer();
            channel.close();
            throw error;
        } catch (RuntimeException error) {
            channel.close();
            throw error;
        }
        frameBytesMax = ready.header().path("ready").path("frame_bytes_max").asInt(1 << 20);
        digest = ready.header().path("ready").path("digest").asText();
    }

    /** Returns the digest of the plugin's component. */
    String digest() {
        return digest;
    }

    /** Calls the plugin with tables. Returns its tables. */
    List<byte[]> call(byte[] header, List<byte[]> tables) throws IOException {
        return request(header, tables, frameBytesMax).tables();
    }

    /** Marks the server as closed, so that later connections use another one. */
    void retireServer() {
        channel.retireServer();
    }

    private Response request(byte[] header, List<byte[]> tables, int bytesMax) throws IOException {
        List<byte[]> parts = new ArrayList<>(tables);
        parts.add(0, header);
        long length = 0;
        for (byte[] part : parts) {
            length += LENGTH_BYTES + part.length;
        }
        if (length > bytesMax) {
            throw new PluginException("usage", "a call of " + length + " bytes, but the maximum is " + bytesMax + "; set a smaller rowsMax");
        }
        ByteBuffer frame = ByteBuffer.allocate(LENGTH_BYTES + (int) length).putInt((int) length);
        for (byte[] part : parts) {
            frame.putInt(part.length).put(part);
        }
        frame.flip();
        IOException unsent = null;
        try {
            while (frame.hasRemaining()) {
                channel.bytes.write(frame);
            }
        } catch (AsynchronousCloseException error) {
            throw error;
        } catch (IOException error) {
            // The server may have sent an error before it closed the connection.
            unsent = error;
        }
        Response response;
        try {
            response = readResponse();
        } catch (IOException error) {
            if (unsent != null) {
                error.addSuppressed(unsent);
            }
            throw error;
        }
        JsonNode error = response.header().get("error");
        if (error != null) {
            throw new PluginException(error.path("kind").asText(), error.path("message").asText());
        }
        return response;
    }

    private Response readResponse() throws IOException {
        int length = read(LENGTH_BYTES).getInt();
        ByteBuffer frame = read(length);
        JsonNode header = JSON.readTree(part(frame));
        List<byte[]> tables = new ArrayList<>();
        while (frame.hasRemaining()) {
            tables.add(part(frame));
        }
        return new Response(header, tables);
    }

    private static byte[] part(ByteBuffer frame) {
        byte[] part = new byte[frame.getInt()];
        frame.get(part);
        return part;
    }

    private ByteBuffer read(int length) throws IOException {
        ByteBuffer bytes = ByteBuffer.allocate(length);
        while (bytes.hasRemaining()) {
            if (channel.bytes.read(bytes) < 0) {
                throw new EOFException("`millstream serve` closed the connection: it was stopped, or ran out of memory");
            }
        }
        return bytes.flip();
    }

    @Override
    public void close() throws IOException {
        channel.close();
    }
}
