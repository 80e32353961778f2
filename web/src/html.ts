// HTML and SVG that the server rendered, rebuilt from an allow-list. The text is parsed into a document that runs nothing.

const ELEMENTS = new Set(
  `a abbr b blockquote br caption code dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i img kbd li
  mark ol p picture pre q s small source span strong sub summary sup table tbody td tfoot th thead tr ul var
  math mrow mi mo mn ms mtext mspace mfrac msqrt mroot mstyle msub msup msubsup munder mover munderover mtable mtr mtd
  mpadded mphantom menclose mmultiscripts mprescripts none semantics annotation
  svg g path rect circle ellipse line polyline polygon text tspan title desc defs marker clippath lineargradient stop
  pattern use`.split(/\s+/),
);
const ATTRIBUTES = new Set(
  `alt class colspan rowspan scope title lang dir open start value role aria-label aria-hidden aria-labelledby
  aria-describedby height width id media
  display mathvariant stretchy fence separator lspace rspace columnalign columnspacing rowspacing accent accentunder
  linethickness displaystyle scriptlevel encoding movablelimits minsize maxsize symmetric form depth voffset
  viewbox preserveaspectratio x y x1 y1 x2 y2 cx cy r rx ry d points transform fill fill-opacity fill-rule stroke
  stroke-width stroke-opacity stroke-dasharray stroke-linecap stroke-linejoin opacity font-size font-family
  font-weight font-style text-anchor dominant-baseline dx dy rotate textlength marker-start marker-end marker-mid
  orient markerwidth markerheight markerunits refx refy offset stop-color stop-opacity gradientunits
  gradienttransform patternunits patterntransform clip-path vector-effect shape-rendering xmlns`.split(/\s+/),
);

interface Policy {
  createHTML(text: string): string;
}
const types = (globalThis as { trustedTypes?: { createPolicy(name: string, rules: Policy): Policy } }).trustedTypes;
const policy = types?.createPolicy("statement", { createHTML: (text) => text });

/** Where a link or a picture may point to. Null where it may not. */
function address(name: string, value: string, element: string): [string, string] | null {
  if (name === "src" || name === "srcset") return /^data:image\/(png|jpeg|gif|webp|svg\+xml)[;,]/.test(value) ? [name, value] : null;
  if (element === "use") return value.startsWith("#") ? ["href", value] : null;
  return /^(https?:|mailto:|#)/.test(value) ? ["href", value] : null;
}

function allowed(name: string, value: string, element: string): [string, string] | null {
  const plain = name.toLowerCase();
  if (plain === "href" || plain === "src" || plain === "srcset" || plain === "xlink:href")
    return address(plain.replace("xlink:", ""), value.trim(), element);
  if (!ATTRIBUTES.has(plain)) return null;
  return /url\(\s*['"]?(?!#)/i.test(value) ? null : [name, value];
}

function rebuilt(from: Node, into: Node): void {
  for (const child of from.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) into.appendChild(document.createTextNode(child.nodeValue ?? ""));
    if (child.nodeType !== Node.ELEMENT_NODE) continue;
    const old = child as Element;
    const name = old.localName.toLowerCase();
    if (!ELEMENTS.has(name)) continue; // with all that it holds
    const made = document.createElementNS(old.namespaceURI, old.localName);
    for (const { name: key, value } of old.attributes) {
      const kept = allowed(key, value, name);
      if (kept) made.setAttribute(...kept);
    }
    if (name === "a" && made.getAttribute("href")?.startsWith("#") === false) {
      made.setAttribute("target", "_blank");
      made.setAttribute("rel", "noopener noreferrer");
    }
    rebuilt(old, made);
    into.appendChild(made);
  }
}

/** The nodes of a text of HTML. */
export function nodesOf(html: string): DocumentFragment {
  const trusted = policy ? policy.createHTML(html) : html;
  const parsed = new DOMParser().parseFromString(trusted, "text/html");
  const out = document.createDocumentFragment();
  rebuilt(parsed.body, out);
  return out;
}
