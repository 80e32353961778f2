// Which screen the address names. It stands in the fragment, so that no prefix of a proxy matters.
import { token } from "./api";
import { Store } from "./store";

export type Screen =
  | { name: "map" }
  | { name: "report" }
  | { name: "drill"; topic: string }
  | { name: "interview"; number: string }
  | { name: "kata"; id: string; part: string }
  | { name: "compare"; id: string; part: string };

function screenOf(fragment: string): Screen {
  const [name = "", id = "", part = ""] = fragment.replace(/^#?\/?/, "").split("/").map(decodeURIComponent);
  if ((name === "kata" || name === "compare") && id) return { name, id, part };
  if (name === "drill") return { name, topic: id };
  if (name === "interview") return { name, number: id };
  return name === "report" ? { name } : { name: "map" };
}

class Router extends Store {
  screen: Screen = { name: "map" };

  begin(): void {
    const read = () => {
      if (location.hash.startsWith("#token=")) token.begin(); // the printed address, in a tab that shows the page already
      this.screen = screenOf(location.hash);
      this.changed();
    };
    addEventListener("hashchange", read);
    read();
  }
}

export const router = new Router();

export const to = {
  map: () => "#/",
  report: () => "#/report",
  interview: (number: number | "" = "") => `#/interview${number && `/${number}`}`,
  drill: (topic = "") => `#/drill${topic && `/${encodeURIComponent(topic)}`}`,
  kata: (id: string, part = "") => `#/kata/${encodeURIComponent(id)}${part ? `/${encodeURIComponent(part)}` : ""}`,
  compare: (id: string, part = "") => `#/compare/${encodeURIComponent(id)}${part ? `/${encodeURIComponent(part)}` : ""}`,
};

export function go(address: string): void {
  location.hash = address;
}
