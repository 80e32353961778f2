// A few lines below the file, run in the same cage: what they print, and the values of those that are expressions.
import { useState } from "preact/hooks";
import type { Session } from "./session";
import { mod } from "./words";

export function Try({ session }: { session: Session }) {
  const [lines, setLines] = useState("");
  const { tried } = session;
  const start = () => void (lines.trim() && session.try(lines));
  const pressed = (event: KeyboardEvent) => {
    if (!(event.ctrlKey || event.metaKey) || event.key !== "Enter") return;
    event.preventDefault();
    start();
  };
  return (
    <details class="try">
      <summary>Try a few lines below the file</summary>
      <textarea
        rows={3} spellcheck={false} autocomplete="off" aria-label="Lines to try" value={lines}
        placeholder={`${session.kata.parts[0]?.defines[0] ?? "f"}(…)`} onKeyDown={pressed}
        onInput={(event) => setLines(event.currentTarget.value)}
      />
      <p>
        <button type="button" disabled={!lines.trim()} onClick={start}>Try</button> <kbd>{mod}-Enter</kbd>{" "}
        <small>Nothing of it stays, and it is no attempt.</small>
      </p>
      {tried && (
        <div class="trial" aria-label="What came of it" role="group">
          {tried.printed && <pre>{tried.printed}</pre>}
          {tried.shown.map((value, i) => <pre key={i} class="value">{value}</pre>)}
          {tried.problem && <pre class="problem">{tried.problem}</pre>}
          {!tried.printed && !tried.shown.length && !tried.problem && <p class="quiet">It ran, and showed nothing.</p>}
        </div>
      )}
    </details>
  );
}
