// The least that a view needs of what it shows: to hear that it changed.
//
// No view has a `useEffect`: that runs some time after the paint, on a busy machine long after it. What is pressed or
// heard between the two would be lost. `useLayoutEffect` runs as the view is drawn.
import { useLayoutEffect, useMemo, useState } from "preact/hooks";

/** Something that views show. Who changes it calls `changed`. */
export class Store {
  private readonly listeners = new Set<() => void>();

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  protected changed(): void {
    for (const listener of [...this.listeners]) listener();
  }
}

/** Draw this component again whenever the store changes. */
export function useStore<S extends Store>(store: S): S {
  const [, again] = useState(0);
  useLayoutEffect(() => store.subscribe(() => again((n) => n + 1)), [store]);
  return store;
}

/** Whether there is room for one column alone. */
export function useNarrow(): boolean {
  const query = useMemo(() => matchMedia("(max-width: 1120px)"), []);
  const [narrow, setNarrow] = useState(query.matches);
  useLayoutEffect(() => {
    const changed = () => setNarrow(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, [query]);
  return narrow;
}
