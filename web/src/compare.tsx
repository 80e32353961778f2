export function CompareScreen(_: { id: string; part: string }) {
  return <p class="empty">Attempts will stand here.</p>;
}
