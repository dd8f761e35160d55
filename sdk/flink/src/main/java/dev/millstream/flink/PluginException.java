package dev.millstream.flink;

/** What Millstream says of a call, or of a plugin, that it cannot serve. The text names the plugin, and holds its traceback. */
public final class PluginException extends RuntimeException {
    private final String kind;

    PluginException(String kind, String message) {
        super(message);
        this.kind = kind;
    }

    /**
     * Who can fix it: {@code usage} (a setting, a column), {@code plugin} (its author), {@code environment}
     * (something outside) or {@code internal} (we).
     */
    public String kind() {
        return kind;
    }
}
