// The least that a view needs of what it shows: to hear that it changed.
import { useEffect, useState } from "preact/hooks";

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
  useEffect(() => store.subscribe(() => again((n) => n + 1)), [store]);
  return store;
}
