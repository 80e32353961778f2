// What a learner chose for this browser.
import { Store } from "./store";

export type Theme = "system" | "light" | "dark";

interface Chosen {
  theme: Theme;
  vim: boolean;
  asITyped: boolean;
  letters: boolean;
}

const system = matchMedia("(prefers-color-scheme: dark)");
const KEY = "dl-kata options";

function read(): Partial<Chosen> {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Chosen>;
  } catch {
    return {};
  }
}

class Options extends Store implements Chosen {
  theme: Theme = "system";
  /** Vim's keys in the editor. */
  vim = false;
  /** Run the checks after each save, also one that nobody asked for. */
  asITyped = false;
  /** Single letters outside of fields: g, d, i, h, s, c, ?. */
  letters = true;

  constructor() {
    super();
    Object.assign(this, read());
    this.show();
    system.addEventListener("change", () => this.show());
  }

  set<K extends keyof Chosen>(key: K, value: Chosen[K]): void {
    Object.assign(this, { [key]: value });
    const { theme, vim, asITyped, letters } = this;
    localStorage.setItem(KEY, JSON.stringify({ theme, vim, asITyped, letters }));
    this.show();
    this.changed();
  }

  /** Tell the stylesheets: `data-theme` what was chosen, `data-shade` what comes of it, `light` or `dark`. */
  private show(): void {
    const { dataset } = document.documentElement;
    dataset.theme = this.theme;
    dataset.shade = this.theme === "system" ? (system.matches ? "dark" : "light") : this.theme;
  }
}

export const options = new Options();
