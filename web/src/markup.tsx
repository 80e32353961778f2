// A place for HTML that the server rendered.
import { useLayoutEffect, useRef } from "preact/hooks";
import { nodesOf } from "./html";

interface Props {
  html: string;
  class?: string;
  /** Called with the element when its nodes are in it. */
  filled?: (element: HTMLElement) => void;
}

export function Markup({ html, class: name, filled }: Props) {
  const here = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    here.current!.replaceChildren(nodesOf(html));
    filled?.(here.current!);
  }, [html]);
  return <div class={name} ref={here} />;
}
