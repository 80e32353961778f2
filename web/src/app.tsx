// The frame around the screens: the head of the page, what is wrong with the line, keys, Go to, help.
import { useLayoutEffect, useState } from "preact/hooks";
import { token } from "./api";
import { desk } from "./desk";
import { DrillScreen } from "./drill";
import { GoTo } from "./goto";
import { Help } from "./help";
import { InterviewBar, InterviewScreen } from "./interview";
import { KataScreen } from "./kata";
import { MapScreen } from "./map";
import { options, type Theme } from "./options";
import { ReportScreen } from "./report";
import { CompareScreen } from "./compare";
import { go, router, to } from "./router";
import { useStore } from "./store";
import { mod, voice } from "./words";

type Open = "" | "goto" | "help";

const THEMES: Record<Theme, { sign: string; next: Theme }> = {
  system: { sign: "◐", next: "light" },
  light: { sign: "○", next: "dark" },
  dark: { sign: "●", next: "system" },
};

export function App() {
  useStore(desk);
  const { screen } = useStore(router);
  const [open, setOpen] = useState<Open>("");
  const closes = (what: Open) => () => setOpen((now) => (now === what ? "" : now)); // it may be told once another is open
  useKeys(setOpen);
  useLayoutEffect(() => {
    const heading = document.querySelector<HTMLElement>("main h1");
    document.title = `${heading?.textContent ?? "dl-kata"} · dl-kata`;
  });
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>To the content</a>
      <Head open={setOpen} />
      <Banner />
      {screen.name !== "interview" && <InterviewBar />}
      <main id="main" tabIndex={-1} class={screen.name}>
        {screen.name === "map" && <MapScreen />}
        {screen.name === "kata" && <KataScreen id={screen.id} part={screen.part} key={screen.id} />}
        {screen.name === "compare" && <CompareScreen id={screen.id} part={screen.part} key={screen.id} />}
        {screen.name === "report" && <ReportScreen />}
        {screen.name === "drill" && <DrillScreen topic={screen.topic} />}
        {screen.name === "interview" && <InterviewScreen number={screen.number} />}
      </main>
      {open === "goto" && <GoTo close={closes("goto")} />}
      {open === "help" && <Help close={closes("help")} />}
      <Live />
    </>
  );
}

function skip(event: Event): void {
  event.preventDefault(); // the fragment is the screen's
  document.getElementById("main")?.focus();
}

function Head({ open }: { open: (what: Open) => void }) {
  const { name } = useStore(router).screen;
  const { theme } = useStore(options);
  const { map } = desk;
  const toAsk = map ? map.drills_due + map.drills_new : 0;
  const { sign, next } = THEMES[theme];
  return (
    <header class="head">
      <a class="brand" href={to.map()}>dl-kata</a>
      <nav aria-label="Screens">
        <a href={to.map()} aria-current={name === "map" ? "page" : undefined}>Map</a>
        {(name === "drill" || !!map?.drills) && (
          <a href={to.drill()} aria-current={name === "drill" ? "page" : undefined}>
            Drill{toAsk > 0 && <> <span class="count">{toAsk}<span class="unseen"> to answer</span></span></>}
          </a>
        )}
        {(name === "interview" || !!map?.drills) && <a href={to.interview()} aria-current={name === "interview" ? "page" : undefined}>Interview</a>}
        <a href={to.report()} aria-current={name === "report" ? "page" : undefined}>Report</a>
      </nav>
      <button type="button" class="quiet goto" onClick={() => open("goto")}>
        Go to… <kbd>{mod}-K</kbd>
      </button>
      <span class="spacer" />
      {map?.edition === "whole" && (
        <span class="points">
          <b>{map.points_earned}</b>/{map.points}<span class="unseen"> points earned</span>
        </span>
      )}
      <button type="button" class="quiet" onClick={() => options.set("theme", next)} title={`Theme: ${theme}. Press for ${next}.`}>
        <span aria-hidden="true">{sign}</span> <span class="wide">{theme}</span>
        <span class="unseen">Theme: {theme}. Press for {next}.</span>
      </button>
      <button type="button" class="quiet" onClick={() => open("help")} title="Keys and options (?)" aria-label="Keys and options">?</button>
    </header>
  );
}

function Banner() {
  const { line } = desk.stream;
  if (token.refused)
    return (
      <p class="banner" role="alert">
        {token.value ? "The server was started anew: open the address that it printed last." : "Open the address that `grader serve` printed: it holds the key to this page."}
        {" "}What you typed is kept in this browser.
      </p>
    );
  if (line === "offline")
    return (
      <p class="banner" role="alert">
        The server does not answer. What you type is kept in this browser, and goes to the disk when it is back.{" "}
        <button type="button" onClick={() => desk.stream.retryNow()}>Try now</button>
      </p>
    );
  if (desk.map?.warning) return <p class="banner" role="status">{desk.map.warning}</p>;
  return null;
}

function Live() {
  const { said } = useStore(voice);
  return <div class="unseen" role="status" aria-live="polite">{said}</div>;
}

/** Whether a key pressed here is text. */
function writes(target: EventTarget | null): boolean {
  const fields = "input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable=true], dialog";
  const closed = "dialog:not([open])"; // for a moment it keeps the focus
  return target instanceof HTMLElement && !target.closest(closed) && !!target.closest(fields);
}

function useKeys(open: (what: Open) => void): void {
  useLayoutEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const key = event.key.toLowerCase();
      if ((event.ctrlKey || event.metaKey) && !event.altKey && key === "k" && !event.shiftKey) {
        event.preventDefault();
        event.stopPropagation();
        return open("goto");
      }
      if (event.ctrlKey || event.metaKey || event.altKey || !options.letters || writes(event.target)) return;
      const { screen } = router;
      if (key === "g") go(to.map());
      else if (key === "d" && desk.map?.drills) go(to.drill());
      else if (key === "i" && desk.map?.drills) go(to.interview());
      else if (event.key === "?") open("help");
      else if (key === "c" && screen.name === "kata") go(to.compare(screen.id));
      else if (key === "h") document.getElementById("hint")?.click();
      else if (key === "s" && (screen.name === "drill" || screen.name === "interview")) document.getElementById("skip")?.click();
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", pressed, { capture: true });
    return () => removeEventListener("keydown", pressed, { capture: true });
  }, []);
}
