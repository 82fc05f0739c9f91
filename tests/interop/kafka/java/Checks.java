// SPDX-License-Identifier: Apache-2.0
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.function.BooleanSupplier;

/** What the Java programs share: checks, and what they ask of the runner (../run.py says how). */
class Checks {
	static final String BOOTSTRAP = System.getenv("BOOTSTRAP");
	static final String PREFIX = System.getenv("PREFIX");
	static final boolean SHORT = !System.getenv().getOrDefault("SHORT", "").isEmpty();
	private static final String WORD = System.getenv().getOrDefault("CHECKS", "");
	private static final BufferedReader in = new BufferedReader(new InputStreamReader(System.in));

	interface Body {
		void run() throws Throwable;
	}

	static void check(String title, Body body) {
		if (!title.contains(WORD))
			return;
		try {
			body.run();
			System.out.println("ok " + title);
		} catch (Throwable e) {
			Throwable t = e;
			for (int depth = 0; t != null && depth < 4; depth++, t = t.getCause()) {
				System.out.println(t);
				for (int i = 0; i < Math.min(6, t.getStackTrace().length); i++)
					System.out.println("   at " + t.getStackTrace()[i]);
			}
			System.out.println("FAIL " + title + ": " + e.toString().replaceAll("\\s+", " "));
		}
		System.out.flush();
	}

	static String name(String what) {
		return PREFIX + "-" + what;
	}

	static void ask(String words) throws Exception {
		System.out.println("@" + words);
		System.out.flush();
		String answer = in.readLine();
		if (!"yes".equals(answer))
			throw new AssertionError(words + ": " + answer);
	}

	static void eq(Object got, Object want, String what) {
		if (got == null ? want != null : !got.equals(want))
			throw new AssertionError(what + ": got " + got + ", want " + want);
	}

	static void until(String what, int seconds, BooleanSupplier holds) throws Exception {
		long end = System.nanoTime() + seconds * 1_000_000_000L;
		while (!holds.getAsBoolean()) {
			if (System.nanoTime() > end)
				throw new AssertionError("waited " + seconds + " s for: " + what);
			Thread.sleep(20);
		}
	}

	/** The exception of that class among the causes of what the body throws. */
	static void throwsA(Class<? extends Throwable> kind, Body body) {
		try {
			body.run();
		} catch (Throwable e) {
			for (Throwable t = e; t != null; t = t.getCause())
				if (kind.isInstance(t))
					return;
			throw new AssertionError("threw " + e + " rather than " + kind.getSimpleName(), e);
		}
		throw new AssertionError("threw no " + kind.getSimpleName());
	}
}
