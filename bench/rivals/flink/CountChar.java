import org.apache.flink.table.functions.ScalarFunction;

/** How often a letter is in a text, for query 14. */
public final class CountChar extends ScalarFunction {
    public long eval(String text, String letter) {
        long count = 0;
        for (int at = 0; at < text.length(); at++) {
            if (text.charAt(at) == letter.charAt(0)) {
                count++;
            }
        }
        return count;
    }
}
