// A place for HTML that the server rendered.
import { useLayoutEffect, useRef } from "preact/hooks";
import { nodesOf } from "./html";

interface Props {
  html: string;
  class?: string;
}

/** A link to a heading goes there; the fragment of the address is the screen's. */
function follow(event: MouseEvent): void {
  const link = (event.target as Element).closest("a");
  const href = link?.getAttribute("href");
  if (!href?.startsWith("#") || href.startsWith("#/")) return;
  event.preventDefault();
  document.getElementById(href.slice(1))?.scrollIntoView();
}

export function Markup({ html, class: name }: Props) {
  const here = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    here.current!.replaceChildren(nodesOf(html));
  }, [html]);
  return <div class={name} ref={here} onClick={follow} />;
}
