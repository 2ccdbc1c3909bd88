import com.google.gerrit.pgm.Daemon;
import com.google.gerrit.pgm.Init;
import java.util.Arrays;

/** Gerrit's own programs without its launcher: {@code init} or {@code daemon}, each with Gerrit's own arguments. */
public final class Gerrit {
    private Gerrit() {}

    public static void main(String[] arguments) throws Exception {
        String[] rest = Arrays.copyOfRange(arguments, 1, arguments.length);
        System.exit(arguments[0].equals("init") ? new Init().main(rest) : new Daemon().main(rest));
    }
}
