// Vim's keys, fetched when they are first wanted.
import { vim, Vim } from "@replit/codemirror-vim";
import type { Extension } from "@codemirror/state";

Vim.defineEx("write", "w", (cm: { cm6: { contentDOM: HTMLElement } }) => {
  cm.cm6.contentDOM.dispatchEvent(new CustomEvent("save-asked", { bubbles: true }));
});

export function vimMode(): Extension {
  return vim({ status: true });
}
