// Programs that must pass the type checker, and some that must not. `tsc` reads this file; nobody runs it.
import { type ChannelEvent, SseParser, type StreamProblem, subscribe, type SubscribeOptions, type Subscription } from "../../../../broker/clients/js/index.js";
import { type Channel, useChannel } from "../../../../broker/clients/js/react.js";

const options: SubscribeOptions = {
  topics: ["user.42"], types: ["order.>"], from: "last:10", cursor: "k7q2m8-1-8aa",
  token: async ({ reason }) => (reason === "refused" ? "new" : "cached"),
  ticket: true, subject: "42", remember: sessionStorage, share: true, transport: "fetch",
  signal: AbortSignal.timeout(1000), silence: 50_000, queue: 10, maxEventLength: 1000, fetch,
  onEvent: async (event: ChannelEvent, from: Subscription) => console.log(event.type, JSON.parse(event.data), event.cursor, from.cursor),
  onGap: ({ gap }) => console.log(gap.lost?.toFixed(), gap.reason, gap.resumedAt),
  onState: ({ state, reason, retryAt }) => console.log(state === "open", reason?.status, retryAt),
  onCursor: (cursor) => console.log(cursor.length),
  onControl: ({ type }) => console.log(type),
  onGrant: ({ endsAt, ending, renewing, problem }) => console.log(endsAt, ending, renewing, problem?.message),
};

async function read(): Promise<void> {
  const subscription = subscribe(new URL("https://events.example.com/channels/shop/orders/events"), options);
  for await (const event of subscription) {
    if (event.gap) console.log(event.gap.lost);
    else console.log(event.type, event.data);
    // @ts-expect-error an event has no id of its own
    console.log(event.id);
  }
  const renewed: boolean = await subscription.renew();
  subscription.pause();
  subscription.resume();
  subscription.close();
  const problem: StreamProblem | null = subscription.reason;
  console.log(renewed, problem?.final, problem?.closing);
  // @ts-expect-error it is moved by reading alone
  subscription.cursor = "";
}

const channel: Channel = useChannel("/channels/shop/orders/events", { topics: ["user.42"], keep: 10 });
useChannel(null);
channel.events.map(({ cursor, data }) => cursor + data);

const blocks = new SseParser("", 1000).push("data: x\n\n");
blocks.map(({ data }) => data?.length);

// @ts-expect-error the name is topics
subscribe("/events", { topic: ["x"] });
// @ts-expect-error there is no such transport
subscribe("/events", { transport: "websocket" });
// @ts-expect-error a token is text
subscribe("/events", { token: async () => 42 });
// @ts-expect-error a URL is needed
subscribe();

void read;
