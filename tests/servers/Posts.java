import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import org.apache.pekko.actor.typed.ActorSystem;
import org.apache.pekko.actor.typed.javadsl.Behaviors;
import org.apache.pekko.japi.Pair;
import org.apache.pekko.stream.javadsl.Sink;
import org.apache.pekko.stream.javadsl.Source;

/**
 * A stream of a Pekko actor system posts rows to an `http` source of Millstream: arguments URL, producer, rows, rows per
 * request. The stream requests more rows only after a response, so a slow job slows it down. Requests are numbered, and
 * repeated until the response is 200.
 */
public final class Posts {
    private static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private static final AtomicLong AGAIN = new AtomicLong();
    /** Rows that the stream has requested from its source. */
    private static final AtomicLong MADE = new AtomicLong();

    private static CompletionStage<Integer> post(URI to, String producer, long number, List<Long> rows) {
        var body = rows.stream().map(row -> "{\"n\":" + row + "}").collect(Collectors.joining(",", "[", "]"));
        var request = HttpRequest.newBuilder(to)
                .header("Millstream-Producer", producer)
                .header("Millstream-Sequence", Long.toString(number))
                .timeout(Duration.ofSeconds(30))
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
        return CLIENT.sendAsync(request, HttpResponse.BodyHandlers.discarding())
                .handle((answer, error) -> error == null && answer.statusCode() == 200)
                .thenCompose(done -> {
                    if (done) {
                        return CompletableFuture.completedFuture(rows.size());
                    }
                    AGAIN.incrementAndGet();
                    var later = CompletableFuture.delayedExecutor(20, TimeUnit.MILLISECONDS);
                    return CompletableFuture.supplyAsync(() -> 0, later)
                            .thenCompose(nothing -> post(to, producer, number, rows));
                });
    }

    public static void main(String[] arguments) throws Exception {
        var to = URI.create(arguments[0]);
        var producer = arguments[1];
        var rows = Long.parseLong(arguments[2]);
        var rowsOfRequest = Integer.parseInt(arguments[3]);
        var system = ActorSystem.create(Behaviors.empty(), "posts");
        var sent = Source.range(1, (int) rows)
                .map(row -> {
                    MADE.incrementAndGet();
                    return (long) row;
                })
                .throttle(20_000, Duration.ofSeconds(1))
                .grouped(rowsOfRequest)
                .zipWithIndex()
                // A producer sends one request at a time.
                .mapAsync(1, (Pair<List<Long>, Long> group) -> {
                    var response = post(to, producer, group.second(), group.first());
                    return response.thenApply(count -> {
                        System.out.println("sent up to " + group.first().get(group.first().size() - 1) + " of " + MADE.get());
                        return count;
                    });
                })
                .runWith(Sink.fold(0, Integer::sum), system)
                .toCompletableFuture()
                .get();
        System.out.println("all " + sent + " are sent, " + AGAIN.get() + " requests were repeated");
        system.terminate();
    }
}
