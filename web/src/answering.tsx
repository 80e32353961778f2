// A question of an interview, and where it is answered: in a drill, and in an interview.
import type { RefObject } from "preact";
import type { ReadBack, Shown } from "./wire";
import { options } from "./options";

/** What a field shows and tells: a sitting of drills, or an interview. */
export interface Answering {
  typed: string;
  /** How what is typed is understood so far, or why it cannot be. */
  back: ReadBack;
  /** Why the answer was not taken, or empty. */
  refusal: string;
  type(typed: string): void;
}

interface Props {
  asked: Shown;
  to: Answering;
  /** What was answered; null while it is asked. */
  given: string | null;
}

/** Whether the answer is typed as text, and not picked from a list alone. */
const isTyped = ({ kind }: Shown) => kind !== "choice" && kind !== "bug";

/** A question and the code that it is about. */
export function Asked({ asked }: { asked: Shown }) {
  return (
    <>
      <p class="ask" id="ask"><Coded text={asked.ask} /></p>
      {asked.kind !== "bug" && asked.code.length > 0 && <Code lines={asked.code} />}
    </>
  );
}

/** Where it is answered, as its kind wants. */
export function Field(props: Props) {
  const { kind, code, options } = props.asked;
  if (kind === "bug") return <Pick {...props} of={code} class="drill-code" />;
  if (kind === "choice") return <Pick {...props} of={options} />;
  return (
    <>
      {kind === "order" && <Items {...props} />}
      <Text {...props} />
    </>
  );
}

function Text({ asked, to, given }: Props) {
  const { typed, back, refusal } = to;
  const problem = refusal || back.problem;
  return (
    <div class="answer-field">
      <label for="answer">Your answer <span class="quiet">({asked.note})</span></label>
      <input
        type="text" id="answer" autocomplete="off" autocapitalize="off" spellcheck={false} value={given ?? typed}
        readOnly={given !== null} aria-describedby="ask code read-back" aria-invalid={!!refusal}
        onInput={(event) => to.type(event.currentTarget.value)}
      />
      {given === null && (
        <p class={`read-back${problem ? " problem" : ""}${refusal ? " refused" : ""}`} id="read-back">
          {problem || (back.said && `${asked.kind === "number" ? "= " : ""}${back.said}`)}
        </p>
      )}
    </div>
  );
}

interface PickProps extends Props {
  of: string[];
  class?: string;
}

/** One of a list, by its number, an arrow or a press. */
function Pick({ asked, to, given, of, class: name }: PickProps) {
  const picked = given ?? to.typed;
  const digit = (event: KeyboardEvent) => {
    if (!/^[0-9]$/.test(event.key) || given !== null || event.ctrlKey || event.metaKey || event.altKey) return;
    const number = [`${to.typed}${event.key}`, event.key].find((one) => Number(one) >= 1 && Number(one) <= of.length);
    if (!number) return;
    event.preventDefault();
    to.type(number);
    (event.currentTarget as HTMLElement).querySelector<HTMLElement>(`input[value="${number}"]`)?.focus();
  };
  return (
    <>
      <fieldset class={`pick-one ${name ?? ""}`} aria-labelledby="ask note" onKeyDown={digit} disabled={given !== null}>
        {of.map((text, i) => (
          <label key={i}>
            <input
              type="radio" name="answer" value={i + 1} checked={picked === `${i + 1}`} onChange={() => to.type(`${i + 1}`)}
            />
            <span class="number">{i + 1}</span>
            <span class="text">{text || " "}</span>
          </label>
        ))}
      </fieldset>
      {given === null && <p class={`read-back problem${to.refusal ? " refused" : ""}`} id="note">{to.refusal || asked.note}</p>}
    </>
  );
}

/** Things to be put in order: a press puts the next place on one, or takes it off. */
function Items({ asked, to, given }: Props) {
  const places: string[] = (given ?? to.typed).match(/[0-9]/g) ?? [];
  const press = (number: string) => {
    const others = places.filter((one) => one !== number);
    to.type((others.length < places.length ? others : [...places, number]).join(" "));
  };
  return (
    <ul class="items" aria-label="To be put in order">
      {asked.options.map((text, i) => {
        const place = places.indexOf(`${i + 1}`) + 1;
        return (
          <li key={i}>
            <button type="button" disabled={given !== null} aria-pressed={place > 0} onClick={() => press(`${i + 1}`)}>
              <span class="number">{i + 1}</span> <span class="text">{text}</span>
              {place > 0 && <span class="place">place {place}</span>}
            </button>
          </li>
        );
      })}
    </ul>
  );
}

/** Where an answer is given. */
export function fieldOf(card: HTMLElement | null): HTMLElement | null {
  return card?.querySelector<HTMLElement>("input:checked, input[type=text]") ?? card?.querySelector("input") ?? null;
}

/** Keys of a question: Esc leaves its field, so that letters are keys; Enter goes back to it, or on to the next one. */
export function keysOf(card: RefObject<HTMLElement | null>, next?: RefObject<HTMLElement | null>): (event: KeyboardEvent) => void {
  return (event) => {
    const outside = event.target === card.current;
    if (event.key === "Escape" && !outside) card.current!.focus();
    else if (event.key === "Enter" && outside) (next?.current ?? fieldOf(card.current))?.focus();
    else return;
    event.preventDefault();
  };
}

/** What a field says of letters that are keys elsewhere. */
export function LettersAreText({ asked }: { asked: Shown }) {
  return options.letters && isTyped(asked) ? <small>In the field the letters are text: Esc leaves it.</small> : null;
}

/** A text in which `this` is code. */
export function Coded({ text }: { text: string }) {
  return <>{text.split("`").map((piece, i) => (i % 2 ? <code key={i}>{piece}</code> : piece))}</>;
}

function Code({ lines }: { lines: string[] }) {
  const pieces = (line: string) => line.split("____");
  return (
    <pre class="drill-code" id="code" tabIndex={0} aria-label="Code">
      {lines.map((line, i) => (
        <span key={i}>{pieces(line).map((piece, at) => <>{at > 0 && <mark class="gap">____</mark>}{piece}</>)}{"\n"}</span>
      ))}
    </pre>
  );
}
