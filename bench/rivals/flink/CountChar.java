import org.apache.flink.table.functions.ScalarFunction;

/** Counts how often a character is in a string, for query 14. */
public final class CountChar extends ScalarFunction {
    public long eval(String text, String character) {
        long count = 0;
        for (int i = 0; i < text.length(); i++) {
            if (text.charAt(i) == character.charAt(0)) {
                count++;
            }
        }
        return count;
    }
}
