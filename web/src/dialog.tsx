// A dialog over the page: Escape, or a press beside it, closes it.
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

interface Props {
  label: string;
  close: () => void;
  class?: string;
  children: ComponentChildren;
}

export function Dialog({ label, close, class: name, children }: Props) {
  const here = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    here.current!.showModal();
    return () => before?.focus?.();
  }, []);
  return (
    <dialog
      ref={here}
      class={name}
      aria-label={label}
      onClose={close}
      onClick={(event) => event.target === here.current && here.current?.close()}
    >
      <div class="inner">{children}</div>
    </dialog>
  );
}
