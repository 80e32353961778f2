// Keys and options.
import { Dialog } from "./dialog";
import { options, type Theme } from "./options";
import { useStore } from "./store";
import { mod } from "./words";

const KEYS: [string, string][] = [
  [`${mod}-Enter`, "save and run, the part at the cursor first"],
  [`${mod}-Shift-Enter`, "run the part at the cursor alone"],
  [`${mod}-S`, "save and run"],
  [`${mod}-.`, "stop the run"],
  ["F8, Shift-F8", "next place that fails, the one before"],
  [`${mod}-K`, "go to an exercise or a part"],
  ["Esc, then Tab", "leave the editor"],
  [`${mod}-F`, "find in the file"],
];
const DRILL: [string, string][] = [
  ["Enter", "answer; then the next question"],
  ["1 to 9", "pick a line, or one of a list"],
  ["Esc", "leave the field, for the letters below"],
];
const LETTERS: [string, string][] = [
  ["g", "the map"],
  ["d", "drill"],
  ["i", "interview"],
  ["h", "a hint"],
  ["s", "skip a drill; pass over a question"],
  ["c", "compare"],
  ["?", "this"],
];

function Keys({ of }: { of: [string, string][] }) {
  return (
    <dl class="keys">
      {of.map(([key, does]) => (
        <div key={key}>
          <dt><kbd>{key}</kbd></dt>
          <dd>{does}</dd>
        </div>
      ))}
    </dl>
  );
}

function Choice({ name, children }: { name: "vim" | "asITyped" | "letters"; children: string }) {
  return (
    <label class="choice">
      <input type="checkbox" checked={options[name]} onChange={(event) => options.set(name, event.currentTarget.checked)} />
      <span>{children}</span>
    </label>
  );
}

export function Help({ close }: { close: () => void }) {
  useStore(options);
  return (
    <Dialog label="Keys and options" close={close} class="help">
      <h2>Keys</h2>
      <Keys of={KEYS} />
      <h3>In a drill and in an interview</h3>
      <Keys of={DRILL} />
      <h3>Outside of fields</h3>
      <Keys of={LETTERS} />
      <h2>Options</h2>
      <Choice name="vim">Vim's keys in the editor</Choice>
      <Choice name="asITyped">Run as I type: after each save, not only when asked</Choice>
      <Choice name="letters">Single letters as keys</Choice>
      <label class="choice">
        <span>Theme</span>
        <select value={options.theme} onChange={(event) => options.set("theme", event.currentTarget.value as Theme)}>
          <option value="system">as the system</option>
          <option value="light">light</option>
          <option value="dark">dark</option>
        </select>
      </label>
      <p><button type="button" onClick={close}>Close</button></p>
    </Dialog>
  );
}
