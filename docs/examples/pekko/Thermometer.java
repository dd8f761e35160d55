import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.ArrayDeque;
import org.apache.pekko.actor.typed.ActorRef;
import org.apache.pekko.actor.typed.ActorSystem;
import org.apache.pekko.actor.typed.Behavior;
import org.apache.pekko.actor.typed.javadsl.AbstractBehavior;
import org.apache.pekko.actor.typed.javadsl.ActorContext;
import org.apache.pekko.actor.typed.javadsl.Behaviors;
import org.apache.pekko.actor.typed.javadsl.Receive;

/**
 * An actor that sends the readings it receives to a Millstream job: `java -cp … Thermometer URL READINGS`. It numbers the readings, sends
 * one at a time, and sends a reading again until the response is 200. So the job counts each reading once.
 */
public final class Thermometer extends AbstractBehavior<Thermometer.Message> {
    public sealed interface Message {}

    public record Reading(String room, double celsius) implements Message {}

    private record Response(boolean ok) implements Message {}

    private record Retry() implements Message {}

    public record Finish(ActorRef<Integer> replyTo) implements Message {}

    private final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private final URI job;
    private final ArrayDeque<Reading> waiting = new ArrayDeque<>();
    private boolean inFlight;
    private int sent;
    private ActorRef<Integer> finished;

    private Thermometer(ActorContext<Message> context, URI job) {
        super(context);
        this.job = job;
    }

    public static Behavior<Message> of(URI job) {
        return Behaviors.setup(context -> new Thermometer(context, job));
    }

    @Override
    public Receive<Message> createReceive() {
        return newReceiveBuilder()
                .onMessage(Reading.class, reading -> {
                    waiting.add(reading);
                    return send();
                })
                .onMessage(Response.class, response -> {
                    inFlight = false;
                    if (!response.ok()) {
                        getContext().scheduleOnce(Duration.ofMillis(100), getContext().getSelf(), new Retry());
                        return this;
                    }
                    waiting.remove();
                    sent++;
                    return send();
                })
                .onMessage(Retry.class, retry -> send())
                .onMessage(Finish.class, finish -> {
                    finished = finish.replyTo();
                    return send();
                })
                .build();
    }

    private Behavior<Message> send() {
        if (inFlight) {
            return this;
        }
        var reading = waiting.peek();
        if (reading == null) {
            if (finished != null) {
                finished.tell(sent);
            }
            return this;
        }
        var row = "{\"room\":\"%s\",\"celsius\":%s}".formatted(reading.room(), reading.celsius());
        var request = HttpRequest.newBuilder(job)
                .header("Millstream-Producer", "thermometer")
                .header("Millstream-Sequence", Integer.toString(sent))
                .timeout(Duration.ofSeconds(30))
                .POST(HttpRequest.BodyPublishers.ofString(row))
                .build();
        inFlight = true;
        getContext().pipeToSelf(
                client.sendAsync(request, HttpResponse.BodyHandlers.discarding()),
                (response, error) -> new Response(error == null && response.statusCode() == 200));
        return this;
    }

    public static void main(String[] arguments) throws Exception {
        var job = URI.create(arguments[0]);
        var readings = Integer.parseInt(arguments[1]);
        var system = ActorSystem.<Integer>create(Behaviors.setup(context -> {
            var thermometer = context.spawn(of(job), "thermometer");
            for (int number = 0; number < readings; number++) {
                var room = number % 2 == 0 ? "kitchen" : "cellar";
                thermometer.tell(new Reading(room, (number * 7 % 40) / 2.0));
            }
            thermometer.tell(new Finish(context.getSelf()));
            return Behaviors.receive(Integer.class)
                    .onMessage(Integer.class, sent -> {
                        System.out.println("sent " + sent + " readings");
                        return Behaviors.stopped();
                    })
                    .build();
        }), "readings");
        system.getWhenTerminated().toCompletableFuture().get();
    }
}
