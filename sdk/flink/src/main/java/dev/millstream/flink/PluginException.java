package dev.millstream.flink;

/** An error of a call or of a plugin. The message names the plugin and includes its traceback. */
public final class PluginException extends RuntimeException {
    private final String kind;

    PluginException(String kind, String message) {
        super(message);
        this.kind = kind;
    }

    /**
     * Returns who can fix it: {@code usage} (the job's author: a setting, a column), {@code plugin} (the plugin's author),
     * {@code environment} (the operator) or {@code internal} (a bug of Millstream).
     */
    public String kind() {
        return kind;
    }
}
