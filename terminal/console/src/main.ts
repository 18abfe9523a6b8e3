// Wires the console together.
import { ApiClient } from "./api/client";
import { fetchTransport } from "./api/transport";
import { SignIn } from "./auth/sign-in";
import { exclusively, SignOutChannel } from "./auth/tabs";
import { App } from "./views/app";

const now = () => Date.now();
const after = (ms: number, task: () => void) => {
  const timer = setTimeout(task, ms);
  return () => clearTimeout(timer);
};

const transport = fetchTransport(fetch.bind(globalThis));
const tabs = new SignOutChannel();
const signIn = new SignIn({ transport, now, after, exclusively, announceEnd: () => tabs.announce() });
tabs.listen(() => signIn.endedElsewhere());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") signIn.wake();
});

const root = document.getElementById("app");
if (root) void new App(root, { signIn, api: new ApiClient(transport, signIn), now, after }).start();
