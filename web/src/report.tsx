export function ReportScreen() {
  return <p class="empty">The report will stand here.</p>;
}
