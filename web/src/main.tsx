import { render } from "preact";
import { token } from "./api";
import { App } from "./app";
import { desk } from "./desk";
import { router } from "./router";
import "./options";

token.begin(); // before anything is asked
router.begin();
desk.begin();
render(<App />, document.getElementById("page")!);
